"""Which device a User-Agent header stands for."""

import pytest

from stagedoor.wire.http.fields import describe_device

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("header", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/130.0 Safari/537.36", "Chrome on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/130.0 Safari/537.36 Edg/130.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X) {WEBKIT} Version/17 Safari/605", "Safari on macOS"),
        (f"Mozilla/5.0 (Linux; Android 14) {WEBKIT} Chrome/130.0 Mobile Safari/537", "Chrome on Android"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 17) {WEBKIT} CriOS/130 Safari/604", "Chrome on iOS"),
        ("<script>alert(1)</script>\x1b[2J", "a browser"),
        ("", "a browser"),
        ("x" * 10_000 + "Firefox/1 Linux", "a browser"),
    ],
)  # fmt: skip
def test_a_device_has_the_words_of_a_person_and_no_others(header: str, device: str) -> None:
    assert describe_device(header) == device
