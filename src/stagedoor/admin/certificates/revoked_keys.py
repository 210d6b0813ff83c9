"""The keys and certificates that are refused: `ssh.revoked_keys_file`."""

from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path

from stagedoor.admin.certificates.certificates import RefusedKeys
from stagedoor.authn.decide_key import revoked_key
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.wire.krl import RevocationError, Revocations, parse_revocations
from stagedoor.wire.sshkey import PublicKey, parse_public_key


class RevokedKeysFile:
    """Reads the file again when it has changed, which stat(2) tells. None: nothing is revoked."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._found: Revocations | Denial = Revocations()

    def now(self) -> Revocations | Denial:
        """What is revoked, or why no key can be judged now."""
        if self._file is None:
            return self._found
        try:
            stat = self._file.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._found = parse_revocations(self._file.read_bytes())
                self._seen = seen
        except (OSError, RevocationError) as error:
            # As sshd_config(5) RevokedKeys: a list that cannot be read refuses every key.
            self._seen = None
            self._found = Denial(
                Reason.CREDENTIAL_WRONG,
                f"no key is taken, since ssh.revoked_keys_file {self._file} cannot be read: {error}",
            )
        return self._found

    def refused(self, public_key: str) -> Denial | None:
        """Satisfies `certificates.RefusedKeys`."""
        found = self.now()
        if isinstance(found, Denial):
            return found
        return revoked_key(b64decode(public_key.split()[1]), found)


def require_unrevoked(lines: Iterable[str], refused: RefusedKeys) -> None:
    """Raises RefusedError where one of these lines of `.pub` files is a key that was revoked."""
    for line in lines:
        key = parse_public_key(line)
        if isinstance(key, PublicKey) and (denial := refused(key.line)) is not None:
            raise RefusedError(denial.message)
