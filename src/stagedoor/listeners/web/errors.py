"""The end of a developer's side, whatever it was doing."""


class ClientClosedError(Exception):
    """The developer's side has gone, or fell silent."""
