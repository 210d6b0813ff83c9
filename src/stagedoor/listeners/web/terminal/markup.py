"""The pages about terminals as HTML; see `markup`."""

from collections.abc import Sequence
from html import escape

from stagedoor.listeners.web.pages.markup import Place, time_of
from stagedoor.model.presence import Present


def landing(place: Place) -> str:
    """Where a share's link leads: the script keeps what stands behind the `#` for this tab alone."""
    body = f"""<main class="narrow"><h1>Stagedoor</h1>
<p id="why" role="status">Somebody shares a terminal with you. Sign in, and see what happens in it.</p>
<p><a id="open" class="button" hidden href="{escape(place.path)}/shared/terminal">Watch the terminal</a></p>
<noscript><p>A shared terminal needs JavaScript.</p></noscript></main>"""
    return place.page("Shared terminal · Stagedoor", body, scripts=("shared.js",))


def live(place: Place, sessions: Sequence[Present]) -> str:
    """The home page's section for those who may watch."""
    rows = "".join(
        f"<tr><td>{escape(each.name)}</td><td>{escape(each.target)}</td><td>{escape(each.terminal)}</td>"
        f"<td>{time_of(each.since)}</td>"
        f'<td><a href="{escape(place.path)}/watch/{escape(each.session)}">Watch</a></td></tr>'
        for each in sessions
    )
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Who", "App", "Terminal", "Since", "Watch")
    )
    table = (
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else "<p>Nobody is at a terminal now.</p>"
    )
    return f"""<section aria-labelledby="live"><h2 id="live">Live sessions</h2>{table}
<p>Whoever is watched sees your name. Only the WebShell's terminals can be watched: ssh by a tunnel or a
jump is encrypted end to end.</p></section>"""
