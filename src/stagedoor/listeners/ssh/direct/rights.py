"""What a direct login may have beyond its shell. Pure."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from stagedoor.model.certificate import extensions_for
from stagedoor.model.permission import Permissions

ENVIRONMENT_LIMIT = 64
"""Variables taken from one client."""


def certificate_extensions(granted: Permissions, permits: frozenset[str]) -> tuple[str, ...]:
    """Return the extensions of the certificate for the shell (OpenSSH's PROTOCOL.certkeys): never more than
    the person's own credential permits, and of the forwards only what is granted.
    """
    return tuple(sorted(extensions_for(granted) & permits))


def allowed_environment(
    asked: Mapping[bytes, bytes], patterns: Iterable[str]
) -> dict[bytes | str, bytes | str]:
    """Those variables whose names match one of `patterns` (as sshd's AcceptEnv), the first 64.

    The shell's sshd has an allow list of its own.
    """
    allowed: dict[bytes | str, bytes | str] = {}
    patterns = tuple(patterns)
    for name, value in asked.items():
        text = name.decode("ascii", "replace")
        if len(allowed) < ENVIRONMENT_LIMIT and any(fnmatchcase(text, one) for one in patterns):
            allowed[name] = value
    return allowed
