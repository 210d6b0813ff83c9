"""What can go wrong in a way that a person must be told of."""


class StagedoorError(Exception):
    """`str(error)` is one line: what happened, to whom, and the command or setting that fixes it.

    `exit_code` is what a command exits with.
    """

    exit_code = 1


class SettingsError(StagedoorError):
    """A setting is missing, unknown or wrong."""

    exit_code = 2


class StoreError(StagedoorError):
    """The store cannot be opened, read or written.

    `public` says the same to developers: nothing in it tells where the store is.
    """

    def __init__(self, text: str, public: str | None = None) -> None:
        """None: the text itself tells nothing of that kind."""
        super().__init__(text)
        self.public = text if public is None else public


class StoreUnavailableError(StoreError):
    """The store's server cannot be reached now, and may come back by itself."""


class NotFoundError(StagedoorError):
    """The named user, key, token, grant or session is not there."""

    exit_code = 3


class ConflictError(StagedoorError):
    """The thing to be made is there already."""

    exit_code = 4


class RefusedError(StagedoorError):
    """What somebody gave (a name, a key, a password, a pattern) cannot be taken."""

    exit_code = 2
