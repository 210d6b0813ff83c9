"""What a request for files says, and what its answer says of a file. Pure.

Names and paths are bytes, as the shell's file system has them: they come percent-encoded (RFC 3986
§2.1), so that a name which is no UTF-8 can be asked for as well.
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
"""Of a name that stand in its part's name, which has to fit into `MAX_NAME_BYTES` as well."""
_UPLOAD = re.compile(r"[0-9a-f]{16}")
_PLAIN = re.compile(rb"[A-Za-z0-9 ._()+,=@~-]")
# C0, DEL and C1 controls, and what turns the reading direction round.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class FilesError(Exception):
    """It cannot be done: an HTTP status, and one line for the person. `size` is the file's, for 416."""

    def __init__(self, status: int, message: str, size: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.size = size


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way into `folder`. `id` tells uploads of one name apart."""

    folder: bytes
    name: bytes
    size: int
    id: str

    @property
    def part(self) -> bytes:
        """Where it is until it is whole: beside what it becomes, so that it need not be copied."""
        return join(self.folder, self.name[:PART_NAME_BYTES] + f".{self.id}.part".encode())

    def path(self, number: int = 0) -> bytes:
        """What it becomes; `number` is that of the `(1)` in a name that was taken."""
        if not number:
            return join(self.folder, self.name)
        stem, dot, ending = self.name.rpartition(b".")
        if not stem:
            stem, dot, ending = self.name, b"", b""
        tail = f" ({number})".encode() + dot + ending
        room = max(MAX_NAME_BYTES - len(tail), 1)
        return join(self.folder, stem[:room] + tail)


def fields_of(query: bytes) -> dict[str, bytes]:
    """A query's fields, each as the bytes that it encodes; `+` is a plus."""
    fields = {}
    for field in query.split(b"&")[:20]:
        name, _, value = field.partition(b"=")
        fields[name.decode("ascii", "replace")] = unquote_to_bytes(value)
    return fields


def path_of(fields: Mapping[str, bytes], field: str = "path") -> bytes:
    """A path; `~` is the home folder, which is where sftp begins. Raises FilesError."""
    path = fields.get(field, b"")
    if len(path) > MAX_PATH_BYTES:
        raise FilesError(400, f"the path is longer than {MAX_PATH_BYTES} bytes")
    if b"\0" in path:
        raise FilesError(400, "the path holds a NUL byte")
    if path in (b"", b"~", b"~/"):
        return b"."
    return path.removeprefix(b"~/").lstrip(b"/") if path.startswith(b"~/") else path


def upload_of(fields: Mapping[str, bytes]) -> Upload:
    """The file that is to be sent. Raises FilesError."""
    name = fields.get("name", b"")
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise FilesError(400, f"{shown(name)!r} is no name for a file")
    if len(name) > MAX_NAME_BYTES:
        raise FilesError(400, f"the name is longer than {MAX_NAME_BYTES} bytes")
    upload = fields.get("id", b"").decode("ascii", "replace")
    if not _UPLOAD.fullmatch(upload):
        raise FilesError(400, "the upload names itself by no 16 hexadecimal digits")
    return Upload(path_of(fields, "folder"), name, number_of(fields, "size"), upload)


def number_of(fields: Mapping[str, bytes], field: str) -> int:
    """A number of bytes. Raises FilesError."""
    text = fields.get(field, b"")
    if not text.isdigit() or len(text) > 18:
        raise FilesError(400, f"{field} is no number of bytes")
    return int(text)


def attachment(path: bytes) -> str:
    """The Content-Disposition of a file: to be kept, never shown (RFC 6266, RFC 8187)."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    text = _CONTROLS.sub("_", name.decode("utf-8", "replace")).replace("\\", "_")
    text = text if text.strip() else "file"
    plain = "".join(c if _PLAIN.fullmatch(c.encode()) else "_" for c in text)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(text, safe='')}"


def validators(size: int, modified_at: int, now: float) -> dict[str, str]:
    """Headers by which a download can go on later (RFC 9110 §8.8), if the file has not changed.

    sftp tells the second of the last change: of a file that may change again within that second
    nothing can be said (§8.8.2.2).
    """
    if not 0 <= modified_at < now - 2:
        return {}
    return {
        "etag": f'"{modified_at:x}-{size:x}"',
        "last-modified": formatdate(modified_at, usegmt=True),
        "accept-ranges": "bytes",
    }


def join(folder: bytes, name: bytes) -> bytes:
    return folder.rstrip(b"/") + b"/" + name if folder != b"." else name


def shown(path: bytes) -> str:
    """A path for a person: of one line, and not to be taken for something else."""
    text = path.decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
