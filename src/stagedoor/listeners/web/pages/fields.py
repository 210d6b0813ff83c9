"""The parameters of a page's query, each bounded, and the path to open next."""

from starlette.requests import Request

from stagedoor.model.units import DAY_S

MAX_CHARS = 200
"""The characters of a field that are read."""
DAYS = ("1", "7", "31", "")
"""The choices for how far back to search, in days; "" stands for any time."""


def read_text(request: Request, name: str, most: int = MAX_CHARS) -> str:
    """Return a parameter of the query, stripped and cut to `most` characters."""
    return request.query_params.get(name, "").strip()[:most]


def read_number(request: Request, name: str) -> int | None:
    """Return a parameter of the query as a whole number, or None for any other text."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None


def read_days(request: Request, default: str) -> tuple[str, float | None]:
    """Return the choice among `DAYS`, and its seconds, or None for any time."""
    days = request.query_params.get("days", default)
    days = days if days in DAYS else default
    return days, int(days) * DAY_S if days else None


def restrict_path(wanted: str, otherwise: str) -> str:
    """Return `wanted` if it is a path of this gateway, else `otherwise`.

    `//host` and `/\\host` lead to other hosts (URL Standard §4.4).
    """
    is_own_path = (
        wanted.startswith("/")
        and not wanted.startswith(("//", "/\\"))
        and wanted.isascii()
        and wanted.isprintable()
    )
    return wanted if is_own_path else otherwise
