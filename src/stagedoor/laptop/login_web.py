"""JSON requests to the gateway's web."""

from __future__ import annotations

import json
import os
import re

from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.web import BODY_LIMIT, GatewayAddress, WebConnection

UNAVAILABLE = (502, 503, 504)
"""The statuses that a reverse proxy returns, with its own page, while the gateway restarts."""
_TRUST = "trust its CA with: stagedoor login --ca-file FILE GATEWAY"
"""The advice about an untrusted certificate."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class GatewayWeb(GatewayAddress):
    """The web of a gateway."""

    def __init__(self, url: str, ca_file: str | None = None) -> None:
        """Check the address `url` as `GatewayAddress` does. Raises TunnelError."""
        super().__init__(url)
        values = {"--gateway": self.origin}
        if ca_file:
            values["--ca-file"] = ca_file
        self.options = Options(values, ["gateway"], dict(os.environ), "the gateway", _TRUST)

    def get(self, path: str) -> tuple[int, dict[str, object]]:
        """GET `path`, and return the status and the JSON object of the answer. Raises TunnelError."""
        return self._ask("GET", path, b"")

    def post(self, path: str, request: dict[str, object]) -> tuple[int, dict[str, object]]:
        """POST a JSON object, and return the status and the JSON object of the answer. Raises TunnelError."""
        return self._ask("POST", path, json.dumps(request).encode())

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        connection = WebConnection(self.options, self.path)
        fields = {"Connection": "close", "User-Agent": "stagedoor-login"}
        try:
            answer = connection.request(method, path, body, fields)
        finally:
            connection.close()
        try:
            return answer.status, parse_object(answer.body, self.url)
        except TunnelError:
            if answer.status in UNAVAILABLE:
                return answer.status, {}
            raise


def open_gateway(state: dict[str, object]) -> GatewayWeb:
    """Return the web of the gateway in a login's stored state. Raises TunnelError."""
    ca_file = state.get("ca_file")
    return GatewayWeb(str(state["gateway"]), str(ca_file) if ca_file else None)


def read_login_id(answer: dict[str, object]) -> str:
    """Return the id in the answer to `/login/start`. Raises TunnelError if it may not be in a URL."""
    id_ = answer.get("id")
    if not isinstance(id_, str) or _ID.fullmatch(id_) is None:
        raise TunnelError(errors.REFUSED, "the gateway sent no login id; get its client again")
    return id_


def parse_object(text: bytes, url: str) -> dict[str, object]:
    """Parse a JSON object of at most `BODY_LIMIT` bytes from `url`. Raises TunnelError."""
    try:
        document = json.loads(text) if len(text) <= BODY_LIMIT else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        line = f"{url} is not the address of a Stagedoor gateway with logins; check it"
        raise TunnelError(errors.NOT_PROXY, line)
    return document
