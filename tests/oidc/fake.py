"""An identity provider in the test's event loop, for what a real one cannot be made to do: to be silent, to
answer a refresh as the test says."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey

from stagedoor.oidc.logout import EVENT
from tests.oidc.idp import CLIENT_ID

DISCOVERY = "/.well-known/openid-configuration"
GONE = {  # what answers to the refresh of a person who is gone, by provider
    "invalid_grant": (400, {"error": "invalid_grant"}),
    "canaille": (400, {"error": "invalid_request"}),
    "dex": (
        400,
        {
            "error": "invalid_request",
            "error_description": "Refresh token is invalid or has already",
        },
    ),
    "dex-connector": (500, {"error": "invalid_request"}),
}


class FakeProvider:
    """Answers for the person `subject`. `asked` counts requests by path, and by grant type."""

    settings = 'groups = { "/teams/shop" = "shop" }\n'
    redirect_uri = "https://shell.example/sign-in/sso"

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
        self.subject = "carol-1"
        self.groups = ["/teams/shop"]
        self.nonce: str | None = None
        self.silent: frozenset[str] = frozenset()
        """What gets no answer: paths, and grant types at the token endpoint."""
        self.slow_s = 0.0
        """How long each answer takes."""
        self.refresh: tuple[int, object] | None = None
        """What answers to a refresh; None: new tokens."""
        self.gone: dict[str, tuple[int, object]] = {}
        """The same for some persons alone."""
        self.asked: Counter[str] = Counter()
        self.port = 0
        self.skew_s = 0.0
        """By how much its clock is ahead."""
        self._no_longer_silent = asyncio.Event()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def speak(self) -> None:
        """Answer again, also to those who have waited."""
        self.silent = frozenset()
        self._no_longer_silent.set()

    def logout_token(self, key: ECKey | None = None, id_: str = "1") -> str:
        claims = {"sub": self.subject, "jti": id_, "events": {EVENT: {}}}
        return self._signed(claims, key or self.key)

    def _signed(self, claims: dict[str, object], key: ECKey) -> str:
        now = int(time.time() + self.skew_s)
        times = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 60}
        head = {"alg": "ES256", "kid": key.kid}
        return jwt.encode(head, times | claims, key, algorithms=["ES256"])

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = [
                line for line in head.split("\r\n") if line.lower().startswith("content-length")
            ]
            body = await reader.readexactly(int(length[0].split(":")[1])) if length else b""
            path = head.split(" ")[1]
            form = parse_qs(body.decode())
            names = {path, *form.get("grant_type", ())}
            self.asked.update(names)
            if self.silent & names:
                await self._no_longer_silent.wait()
            await asyncio.sleep(self.slow_s)
            status, answer = self._answer(path, form)
            data = json.dumps(answer).encode()
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str, form: dict[str, list[str]]) -> tuple[int, object]:
        match path:
            case path if path == DISCOVERY:
                return 200, {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                }
            case "/keys":
                return 200, {"keys": [self.key.as_dict(private=False)]}
            case "/token":
                subject, claims = self.subject, dict[str, object](groups=self.groups)
                if form["grant_type"] == ["refresh_token"]:
                    subject = form["refresh_token"][0].partition(" ")[2]
                    if (refused := self.gone.get(subject, self.refresh)) is not None:
                        return refused
                else:
                    claims["nonce"] = self.nonce
                claims |= {"sub": subject, "preferred_username": subject.partition("-")[0]}
                token = self._signed(claims, self.key)
                return 200, {
                    "id_token": token,
                    "refresh_token": f"{self.asked[path]} {subject}",
                }
        return 404, {}


@asynccontextmanager
async def running_fake() -> AsyncIterator[FakeProvider]:
    provider = FakeProvider()
    server = await asyncio.start_server(provider.handle, "127.0.0.1", 0, backlog=1024)
    provider.port = server.sockets[0].getsockname()[1]
    async with server:
        yield provider
        provider.speak()
