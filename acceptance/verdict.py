"""What a row of `script/demo --check` may come to."""

import shutil
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One row; `ok` None: it could not run, and `why` says what is missing."""

    name: str
    ok: bool | None
    why: str = ""
    took_s: float = 0.0

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
    """It cannot run on this machine; `str(error)` says what is missing."""


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
        packages = dict.fromkeys(package_of(program) for program in missing)
        raise NotHereError(f"apt-get install {' '.join(packages)}")


def expect(true: object, why: str) -> None:
    """Raises FailedError unless it is true."""
    if not true:
        raise FailedError(why)
