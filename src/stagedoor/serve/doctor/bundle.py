"""A tar file with what a bug report needs to say about a gateway, without secrets."""

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
from typing import Any

import msgspec

from stagedoor import __version__
from stagedoor.model.errors import RefusedError
from stagedoor.model.secure_url import show_url
from stagedoor.settings.settings import Settings
from stagedoor.wire.finding import Result, render_row

HIDDEN = "(hidden)"
_NAMES = """
data_dir networks proxy_protocol_from addresses tls_addresses public_url forwarded_from address
certificate_file key_file ca_file host_key_file host_certificate_file trusted_user_ca_files
revoked_keys_file user_ca_file user_ca_agent host_ca_file sign_in_key_file audit_key_file keys_file
host_names accept_env origins domain path
name issuer redirect_uri scopes name_claim name_domain groups_claim groups_missing step_up_acr
self_service targets on_failure url format level
app host environment directory login_shell kubeconfig authorise leaving namespace
kit_way priority_class
"""
_SHOWN = frozenset(_NAMES.split())
"""Settings whose text is shown. Numbers and switches are always shown. All other text is hidden, so that a
new setting cannot reveal a secret."""
_IN_URL = re.compile(r"""(://)[^/\s"]*@|(?<=\?)[^\s"]+""")
"""A URL's user name and password, and its query, which may contain a key under any name."""


def write_bundle(
    file: Path, settings: Settings | None, results: Sequence[Result], extra: Mapping[str, str]
) -> None:
    """Write a new tar file. `extra` maps more file names to their text.

    Raises RefusedError if the file exists already or cannot be created.
    """
    pages = {
        "doctor.json": format_json([render_row(result) for result in results]),
        "versions.json": format_json(list_versions()),
        **({"settings.json": format_json(withhold_secrets(settings))} if settings else {}),
        **extra,
    }
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as out, tarfile.open(fileobj=out, mode="w") as tar:
            for name, text in pages.items():
                content = remove_secrets(text).encode()
                info = tarfile.TarInfo(f"stagedoor-report/{name}")
                info.size, info.mode, info.mtime = len(content), 0o600, int(time.time())
                tar.addfile(info, io.BytesIO(content))
    except OSError as error:
        raise RefusedError(f"cannot write {file}: {error.strerror}") from None


def format_json(value: object) -> str:
    """Return indented JSON with a final newline; unknown types become text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def withhold_secrets(settings: Settings) -> object:
    """Return the settings without the values that may contain a secret."""
    plain: dict[str, Any] = _shown_table(settings)
    for row, sink in zip(plain["audit"]["sinks"], settings.audit.sinks, strict=True):
        row["url"] = sink.shown_url
    for row, hook in zip(plain["hooks"], settings.hooks, strict=True):
        row["url"] = hook.shown_url
    if settings.traces.url is not None:
        plain["traces"]["url"] = show_url(settings.traces.url)
    return plain


def _shown_table(table: msgspec.Struct) -> dict[str, Any]:
    return {name: _mask(name, getattr(table, name)) for name in table.__struct_fields__}


def _mask(name: str, value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _shown_table(value)
    if isinstance(value, list | tuple) and any(isinstance(item, msgspec.Struct) for item in value):
        return [_mask(name, item) for item in value]
    if not value or isinstance(value, int | float) or name in _SHOWN:
        return msgspec.to_builtins(value, enc_hook=str)
    return HIDDEN


def remove_secrets(text: str) -> str:
    """Return `text` without the parts of URLs that may be credentials. JSON stays valid."""
    return _IN_URL.sub(lambda match: f"://{HIDDEN}@" if match[1] else HIDDEN, text)


def list_versions() -> dict[str, str]:
    """Return the versions of Stagedoor, Python, the system and the main libraries."""
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
