"""The browser and the system that a User-Agent header names, in words for a person."""

_MAX_CHARS = 512
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
"""The first that is named counts: all of them name the ones that they want to be taken for as well."""
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
    ("BSD", "BSD"),
)


def device_of(user_agent: str) -> str:
    """Return what a person calls their device, such as "Firefox on Linux" (RFC 9110 §10.1.5).

    A client may send any header, so this is a hint and no proof. Only words from here are returned.
    """
    shown = user_agent[:_MAX_CHARS]
    browser = next((name for mark, name in _BROWSERS if mark in shown), "a browser")
    system = next((name for mark, name in _SYSTEMS if mark in shown), None)
    return f"{browser} on {system}" if system else browser
