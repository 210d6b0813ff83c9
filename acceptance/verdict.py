"""The possible results of a row of `script/demo --check`."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """The result of one row.

    `ok` is None for a row that could not run; `why` then says what is missing, and `packages` are the Debian
    packages that have it.
    """

    name: str
    ok: bool | None
    why: str = ""
    took_s: float = 0.0
    packages: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """True if the row ran and failed."""
        return self.ok is False

    @property
    def word(self) -> str:
        """The result as a word for the table."""
        return {True: "ok", False: "FAILED", None: "not here"}[self.ok]

    def as_json(self) -> dict[str, str | float | None]:
        """Return the row for the table as JSON."""
        return {
            "name": self.name,
            "result": self.word,
            "why": self.why or None,
            "took_s": round(self.took_s, 3),
        }


class NotHereError(Exception):
    """A check that cannot run on this machine.

    `str(error)` says what is missing; `packages` are the Debian packages that have it.
    """

    def __init__(self, why: str = "", *, packages: Sequence[str] = ()) -> None:
        super().__init__(why or f"apt-get install {' '.join(packages)}")
        self.packages = tuple(packages)


class FailedError(Exception):
    """A check that ran and failed; `str(error)` says why, in one line."""


# Debian's names, the same in 12 and 13.
_PACKAGES = {
    "ssh": "openssh-client",
    "scp": "openssh-client",
    "sftp": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nc": "netcat-openbsd",
    "fusermount3": "fuse3",
    "python3": "python3",
}


def package_of(program: str) -> str:
    """Return the Debian package that has a program."""
    return _PACKAGES.get(program, program)


def need(*programs: str) -> None:
    """Check that programs are on PATH. Raises NotHereError, with the packages of those that are not."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise NotHereError(packages=[*dict.fromkeys(package_of(program) for program in missing)])


def untried(results: Sequence[Result]) -> str:
    """Return a line that names the rows that could not run and the packages they need; "" if all ran."""
    rows = [result for result in results if result.ok is None]
    if not rows:
        return ""
    packages = dict.fromkeys(package for row in rows for package in row.packages)
    names = ", ".join(row.name if row.packages else f"{row.name} ({row.why})" for row in rows)
    mend = f"; to try all of it, as root: apt-get install {' '.join(packages)}"
    return f"not tried: {names}{mend if packages else ''}"


def expect(true: object, why: str) -> None:
    """Raise FailedError with `why` unless `true` is true."""
    if not true:
        raise FailedError(why)
