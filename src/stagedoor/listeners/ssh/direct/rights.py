"""The rights of a direct login besides its shell: forwards and environment variables. Pure."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from stagedoor.model.certificate import extensions_for
from stagedoor.model.permission import Permissions

ENVIRONMENT_LIMIT = 64
"""The most variables that are accepted from one client."""


def certificate_extensions(granted: Permissions, permits: frozenset[str]) -> tuple[str, ...]:
    """Return the extensions of the certificate for the shell (OpenSSH's PROTOCOL.certkeys).

    They are never more than the user's own credential permits, and include only granted forwards.
    """
    return tuple(sorted(extensions_for(granted) & permits))


def allowed_environment(
    asked: Mapping[bytes, bytes], patterns: Iterable[str]
) -> dict[bytes | str, bytes | str]:
    """Return the first 64 variables whose names match one of `patterns` (as in sshd's AcceptEnv).

    The shell's sshd has its own allow list.
    """
    allowed: dict[bytes | str, bytes | str] = {}
    patterns = tuple(patterns)
    for name, value in asked.items():
        text = name.decode("ascii", "replace")
        if len(allowed) < ENVIRONMENT_LIMIT and any(
            fnmatchcase(text, pattern) for pattern in patterns
        ):
            allowed[name] = value
    return allowed
