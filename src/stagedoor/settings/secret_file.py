"""Files with one secret each, which settings name."""

import os
import stat
from pathlib import Path

from stagedoor.model.errors import SettingsError

LIMIT_CHARS = 4096


def read_secret(path: Path, setting: str, what: str) -> str:
    """The one line of a file that not everybody may read.

    `setting` and `what` (`the password`) are for messages. Raises SettingsError, never with the line.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(LIMIT_CHARS)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{setting}: cannot read {path}: {reason}") from None
    if mode & stat.S_IRWXO:
        raise SettingsError(f"{setting}: everybody may read {path}; mend it with: chmod o= {path}")
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret or "\n" in secret or "\0" in secret:
        raise SettingsError(f"{setting}: {path} must hold one line, {what}")
    return secret
