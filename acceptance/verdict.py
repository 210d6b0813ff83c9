"""What a row of `script/demo --check` may come to."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One row; `ok` None: it could not run, `why` says what is missing, and `packages` would bring it."""

    name: str
    ok: bool | None
    why: str = ""
    took_s: float = 0.0
    packages: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return self.ok is False

    @property
    def word(self) -> str:
        return {True: "ok", False: "FAILED", None: "not here"}[self.ok]

    def as_json(self) -> dict[str, str | float | None]:
        return {
            "name": self.name,
            "result": self.word,
            "why": self.why or None,
            "took_s": round(self.took_s, 3),
        }


class NotHereError(Exception):
    """It cannot run on this machine; `str(error)` says what is missing, which Debian's `packages` bring."""

    def __init__(self, why: str = "", *, packages: Sequence[str] = ()) -> None:
        super().__init__(why or f"apt-get install {' '.join(packages)}")
        self.packages = tuple(packages)


class FailedError(Exception):
    """It ran, and went wrong; `str(error)` says how, in one line."""


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
    """The Debian package that brings a program."""
    return _PACKAGES.get(program, program)


def need(*programs: str) -> None:
    """Raises NotHereError that names the packages of those that are not on PATH."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise NotHereError(packages=[*dict.fromkeys(package_of(program) for program in missing)])


def untried(results: Sequence[Result]) -> str:
    """Return the line on the rows that could not run, and on what would let them; "" if there are none."""
    rows = [result for result in results if result.ok is None]
    if not rows:
        return ""
    packages = dict.fromkeys(package for row in rows for package in row.packages)
    names = ", ".join(row.name if row.packages else f"{row.name} ({row.why})" for row in rows)
    mend = f"; to try all of it, as root: apt-get install {' '.join(packages)}"
    return f"not tried: {names}{mend if packages else ''}"


def expect(true: object, why: str) -> None:
    """Raises FailedError unless it is true."""
    if not true:
        raise FailedError(why)
