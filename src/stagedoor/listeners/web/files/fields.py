"""The fields of requests for files, and the headers of their answers. Pure.

Names and paths are bytes, as in the shell's file system. Requests have them percent-encoded (RFC 3986
§2.1), so that names need not be UTF-8.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote, unquote_to_bytes

MAX_PATH_BYTES = 4096
"""PATH_MAX of Linux."""
MAX_NAME_BYTES = 255
PART_NAME_BYTES = 200
"""How much of a file's name the name of its part contains, which must also fit into `MAX_NAME_BYTES`."""
_UPLOAD = re.compile(r"[0-9a-f]{16}")
_PLAIN = re.compile(rb"[A-Za-z0-9 ._()+,=@~-]")
# C0, DEL and C1 controls, and the characters that change the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class FilesError(Exception):
    """Raised for a request that fails, with an HTTP status and a line for the user; `size` is the file's."""

    def __init__(self, status: int, message: str, size: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.size = size


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is uploaded into `folder`. `id` distinguishes uploads of the same name."""

    folder: bytes
    name: bytes
    size: int
    id: str

    @property
    def part(self) -> bytes:
        """The path of the incomplete file, in the same folder, so that it need not be copied."""
        return join(self.folder, self.name[:PART_NAME_BYTES] + f".{self.id}.part".encode())

    def path(self, number: int = 0) -> bytes:
        """Return the path of the complete file. `number` is the one in `name (1)`, if the name is in use."""
        if not number:
            return join(self.folder, self.name)
        stem, dot, ending = self.name.rpartition(b".")
        if not stem:
            stem, dot, ending = self.name, b"", b""
        tail = f" ({number})".encode() + dot + ending
        room = max(MAX_NAME_BYTES - len(tail), 1)
        return join(self.folder, stem[:room] + tail)


def parse_query_fields(query: bytes) -> dict[str, bytes]:
    """Return the first 20 fields of a query, with decoded values; `+` is a plus."""
    fields = {}
    for field in query.split(b"&")[:20]:
        name, _, value = field.partition(b"=")
        fields[name.decode("ascii", "replace")] = unquote_to_bytes(value)
    return fields


def read_path(fields: Mapping[str, bytes], field: str = "path") -> bytes:
    """Return the path in a field; `~` is the home folder, where sftp begins. Raises FilesError."""
    path = fields.get(field, b"")
    if len(path) > MAX_PATH_BYTES:
        raise FilesError(400, f"the path is longer than {MAX_PATH_BYTES} bytes")
    if b"\0" in path:
        raise FilesError(400, "the path holds a NUL byte")
    if path in (b"", b"~", b"~/"):
        return b"."
    return path.removeprefix(b"~/").lstrip(b"/") if path.startswith(b"~/") else path


def read_upload(fields: Mapping[str, bytes]) -> Upload:
    """Return the upload that the fields identify. Raises FilesError."""
    name = fields.get("name", b"")
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise FilesError(400, f"{escape_path(name)!r} is not a valid file name")
    if len(name) > MAX_NAME_BYTES:
        raise FilesError(400, f"the name is longer than {MAX_NAME_BYTES} bytes")
    upload = fields.get("id", b"").decode("ascii", "replace")
    if not _UPLOAD.fullmatch(upload):
        raise FilesError(400, "`id` must be 16 hexadecimal digits")
    return Upload(read_path(fields, "folder"), name, read_number(fields, "size"), upload)


def read_number(fields: Mapping[str, bytes], field: str) -> int:
    """Return the number of bytes in a field. Raises FilesError."""
    text = fields.get(field, b"")
    if not text.isdigit() or len(text) > 18:
        raise FilesError(400, f"{field} is not a number of bytes")
    return int(text)


def describe_attachment(path: bytes) -> str:
    """Return the Content-Disposition by which browsers save a file and never show it (RFC 6266, 8187)."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    text = _CONTROLS.sub("_", name.decode("utf-8", "replace")).replace("\\", "_")
    text = text if text.strip() else "file"
    plain = "".join(c if _PLAIN.fullmatch(c.encode()) else "_" for c in text)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(text, safe='')}"


def make_validators(size: int, modified_at: int, now: float) -> dict[str, str]:
    """Return the headers that allow the download of an unchanged file to be resumed (RFC 9110 §8.8).

    sftp reports the second of the last change. A file that may change again within that second gets no
    validators (§8.8.2.2). `modified_at` and `now` are seconds since the epoch.
    """
    if not 0 <= modified_at < now - 2:
        return {}
    return {
        "etag": f'"{modified_at:x}-{size:x}"',
        "last-modified": formatdate(modified_at, usegmt=True),
        "accept-ranges": "bytes",
    }


def join(folder: bytes, name: bytes) -> bytes:
    """Return the path of `name` in `folder`."""
    return folder.rstrip(b"/") + b"/" + name if folder != b"." else name


def escape_path(path: bytes) -> str:
    """Return a path as one line of text, with escapes for characters that could mislead a reader."""
    text = path.decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
