"""What a bug report needs of a gateway, in one tar, without a secret."""

import io
import json
import os
import platform
import re
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from stagedoor import __version__
from stagedoor.model.errors import RefusedError
from stagedoor.model.secure_url import shown_url
from stagedoor.settings.settings import Settings
from stagedoor.wire.finding import Result, result_row

HIDDEN = "(hidden)"
_SECRET = re.compile(r"secret|password|passwd|token|credential|(?:^|_)env$|annotations", re.I)
"""Settings whose values may hold one, by name. A path to a secret's file is none, but goes as well."""
_IN_URL = re.compile(r"""(://)[^/\s"]*@|(?<=\?)[^\s"]+""")
"""The name and password of a URL, and its query, which may be a key, by whatever name."""


def write_bundle(
    file: Path, settings: Settings | None, results: Sequence[Result], extra: Mapping[str, str]
) -> None:
    """Raises RefusedError where the file is there already or cannot be made. `extra`: text by name."""
    pages = {
        "doctor.json": as_json([result_row(result) for result in results]),
        "versions.json": as_json(versions()),
        **({"settings.json": as_json(shown_settings(settings))} if settings else {}),
        **extra,
    }
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as out, tarfile.open(fileobj=out, mode="w") as tar:
            for name, text in pages.items():
                content = without_secrets(text).encode()
                info = tarfile.TarInfo(f"stagedoor-report/{name}")
                info.size, info.mode, info.mtime = len(content), 0o600, int(time.time())
                tar.addfile(info, io.BytesIO(content))
    except OSError as error:
        raise RefusedError(f"cannot write {file}: {error.strerror}") from None


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def shown_settings(settings: Settings) -> object:
    """The settings without the values that may hold a secret."""
    plain = msgspec.to_builtins(settings, enc_hook=str)
    for row, sink in zip(plain["audit"]["sinks"], settings.audit.sinks, strict=True):
        row["url"] = sink.shown_url
    if settings.traces.url is not None:
        plain["traces"]["url"] = shown_url(settings.traces.url)
    return _shown(plain)


def _shown(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: HIDDEN if inner and _SECRET.search(str(name)) else _shown(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_shown(inner) for inner in value]
    return value


def without_secrets(text: str) -> str:
    """`text` without what may be a credential in a URL; JSON stays JSON."""
    return _IN_URL.sub(lambda found: f"://{HIDDEN}@" if found[1] else HIDDEN, text)


def versions() -> dict[str, str]:
    names = (
        "asyncssh",
        "cryptography",
        "msgspec",
        "sqlalchemy",
        "starlette",
        "uvicorn",
        "websockets",
    )
    libraries = {}
    for name in names:
        try:
            libraries[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            libraries[name] = "not installed"
    return {
        "stagedoor": __version__,
        "python": sys.version.split()[0],
        "system": platform.platform(),
        **libraries,
    }
