"""The page's script and style, built from `web/` into the package, and served from memory."""

import asyncio
import gzip
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent.with_name("static")
_KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(slots=True)
class _File:
    """`packed` is None until somebody asks for it: all together cost a start 0.1 s of the processor."""

    kind: str
    digest: str
    plain: bytes = field(repr=False)
    packed: bytes | None = field(default=None, repr=False)


class Assets:
    """The files of `folder`, none if they were not built."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files: dict[str, _File] = {}
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix not in _KINDS:
                continue
            plain = path.read_bytes()
            digest = hashlib.sha256(plain).hexdigest()[:16]
            self._files[path.name] = _File(_KINDS[path.suffix], digest, plain)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def path(self, name: str) -> str:
        """Its path below the site's own, which changes with its content."""
        found = self._files.get(name)
        return f"/static/{found.digest if found else 'missing'}/{name}"

    async def answer(self, request: Request) -> Response:
        """A file, whole or packed (RFC 9110 §12.5.3)."""
        found = self._files.get(request.path_params["name"])
        if found is None or request.path_params["digest"] != found.digest:
            # A page of an older version asks for what is no more; it is not given something else.
            return Response("no such file\n", 404, media_type="text/plain")
        headers = {"cache-control": _FOREVER, "vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            if found.packed is None:  # in a thread: the large ones take as long as a login
                found.packed = await asyncio.to_thread(gzip.compress, found.plain, 9, mtime=0)
            return Response(found.packed, media_type=found.kind, headers=headers)
        return Response(found.plain, media_type=found.kind, headers=headers)
