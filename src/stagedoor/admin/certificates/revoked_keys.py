"""The revoked keys and certificates of `ssh.revoked_keys_file`."""

from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path

from stagedoor.admin.certificates.certificates import RefusedKeys
from stagedoor.authn.decide_key import revoked_key
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.wire.ssh.key import PublicKey, parse_public_key
from stagedoor.wire.ssh.krl import RevocationError, Revocations, parse_revocations


class RevokedKeysFile:
    """The file of revoked keys, read again when stat(2) shows a change. Without a file, none is revoked."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._read_version: tuple[int, int, int] | None = None
        self._revocations: Revocations | Denial = Revocations()

    def read(self) -> Revocations | Denial:
        """Return the revoked keys, or why no key can be checked now."""
        if self._file is None:
            return self._revocations
        try:
            stat = self._file.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._read_version:
                self._revocations = parse_revocations(self._file.read_bytes())
                self._read_version = seen
        except (OSError, RevocationError) as error:
            # As sshd_config(5) RevokedKeys: a list that cannot be read refuses every key.
            self._read_version = None
            self._revocations = Denial(
                Reason.CREDENTIAL_WRONG,
                f"no key is taken, since ssh.revoked_keys_file {self._file} cannot be read: {error}",
            )
        return self._revocations

    def why_refused(self, public_key: str) -> Denial | None:
        """Return why a key is refused, or None. Implements `certificates.RefusedKeys`."""
        revocations = self.read()
        if isinstance(revocations, Denial):
            return revocations
        return revoked_key(b64decode(public_key.split()[1]), revocations)


def require_unrevoked(lines: Iterable[str], refused: RefusedKeys) -> None:
    """Raise RefusedError if one of these lines of `.pub` files is a revoked key."""
    for line in lines:
        key = parse_public_key(line)
        if isinstance(key, PublicKey) and (denial := refused(key.line)) is not None:
            raise RefusedError(denial.message)
