"""The pages' scripts and styles, built from `web/` into the package and served from memory."""

import asyncio
import gzip
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from stagedoor.listeners.web.pages.language import OTHERS, render_words
from stagedoor.settings.logo import Logo

FOLDER = Path(__file__).parent.with_name("static")
_KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
_LOGO_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(slots=True)
class _Asset:
    """A file of the pages. `packed` is None until the first request: compressing all files takes 0.1 s."""

    kind: str
    digest: str
    plain: bytes = field(repr=False)
    packed: bytes | None = field(default=None, repr=False)
    policy: str | None = None


class Assets:
    """The files in `folder`, or none if they were not built."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files: dict[str, _Asset] = {}
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix not in _KINDS:
                continue
            self._add(path.name, path.read_bytes())
        for language in OTHERS if self._files else ():
            self._add(f"words.{language}.js", render_words(language))

    def add_logo(self, logo: Logo) -> None:
        """Serve the company's logo as well. Opened in a tab of its own, it cannot run scripts."""
        self._add(logo.name, logo.data, _LOGO_POLICY)

    def _add(self, name: str, plain: bytes, policy: str | None = None) -> None:
        digest = hashlib.sha256(plain).hexdigest()[:16]
        self._files[name] = _Asset(_KINDS[Path(name).suffix], digest, plain, policy=policy)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def path(self, name: str) -> str:
        """Return a file's path below the path prefix. It changes with the file's content."""
        file = self._files.get(name)
        return f"/static/{file.digest if file else 'missing'}/{name}"

    async def answer(self, request: Request) -> Response:
        """Answer with a file, compressed if the browser accepts that (RFC 9110 §12.5.3)."""
        file = self._files.get(request.path_params["name"])
        if file is None or request.path_params["digest"] != file.digest:
            # A page of an older version must not get the files of this one.
            return Response("no such file\n", 404, media_type="text/plain")
        headers = {"cache-control": _FOREVER, "vary": "Accept-Encoding"}
        if file.policy is not None:
            headers["content-security-policy"] = file.policy
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            if file.packed is None:
                # In a thread, since compressing a large file takes as long as a login.
                file.packed = await asyncio.to_thread(gzip.compress, file.plain, 9, mtime=0)
            return Response(file.packed, media_type=file.kind, headers=headers)
        return Response(file.plain, media_type=file.kind, headers=headers)
