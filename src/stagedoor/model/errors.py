"""Errors for the person who runs a command or logs in."""

import sys
from typing import Self


class StagedoorError(Exception):
    """An error whose text is for a person.

    `str(error)` is one line for an administrator: what happened to which object, and the command or setting
    that fixes it. `public` is the line for developers, without these and without the store's location.
    `exit_code` is a command's exit status.
    """

    exit_code = 1

    def __init__(self, text: str, public: str | None = None) -> None:
        """Create the error. If `public` is None, developers get `text`."""
        super().__init__(text)
        self.public = text if public is None else public

    @classmethod
    def with_fix(cls, what: str, fix: str) -> Self:
        """Return an error that an administrator can lift by `fix`: a command, or a setting."""
        return cls(f"{what}; {fix}", what)


class SettingsError(StagedoorError):
    """A setting is missing, unknown or wrong."""

    exit_code = 2


class StoreError(StagedoorError):
    """The store cannot be opened, read or written."""


class StoreUnavailableError(StoreError):
    """The store's server cannot be reached now, and may recover without any action."""


class NotFoundError(StagedoorError):
    """The named user, key, token, grant or session does not exist."""

    exit_code = 3

    @classmethod
    def of(cls, what: str, command: str) -> Self:
        """Return the error for a missing `what` (`grant 3`). `command` (`grant list`) shows the others."""
        return cls.with_fix(f"there is no {what}", f"see `stagedoor {command}`")


class ConflictError(StagedoorError):
    """The object to create exists already."""

    exit_code = 4


class RefusedError(StagedoorError):
    """A value that a person gave (a name, a key, a password, a pattern) is not acceptable."""

    exit_code = 2


def install_extra(extra: str) -> str:
    """Return the command that installs the optional part `extra` in this environment.

    It never suggests a bare `stagedoor[…]`, for which pip would query the index, where a stranger could own
    the name.
    """
    return f"{sys.prefix}/bin/pip install './stagedoor[{extra}]' (./stagedoor is a checkout)"
