"""The token of a service account, as a real API server signs it, logs a machine in."""

import json
import time
from pathlib import Path

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.http import HttpRequest
from stagedoor.net.https import load_trust
from stagedoor.oidc.errors import OidcError
from stagedoor.settings.machines import MachineSettings
from stagedoor.signin.login.machine_logins import MachineTokens
from stagedoor.signin.providers import HttpsFetch
from tests.kube.api.lone import LoneApi

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

AUDIENCE = "https://gw.example"


@pytest.mark.identity(37)
async def test_the_token_of_a_service_account_is_taken(
    api: LoneApi, cluster: KubeCluster, namespace: str, tmp_path: Path
) -> None:
    async def ask(method: str, path: str, body: object = None) -> bytes:
        request = HttpRequest(method, path, b"" if body is None else json.dumps(body).encode())
        answer = await cluster.http.send(request, 30)
        assert answer.status in (200, 201), answer.body
        return answer.body

    root = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await ask("POST", root, {"metadata": {"name": "deploy"}})

    async def token(audience: str) -> str:
        spec = {"audiences": [audience], "expirationSeconds": 600}
        answer = await ask("POST", f"{root}/deploy/token", {"spec": spec})
        return str(json.loads(answer)["status"]["token"])

    discovery = json.loads(await ask("GET", "/.well-known/openid-configuration"))
    keys_file = tmp_path / "keys.json"
    fetch = HttpsFetch(load_trust(api.folder / "ca.crt", "machines.ca_file"))
    status, keys = await fetch.get(f"{api.url}/openid/v1/jwks", api.token())
    assert status == 200, keys
    keys_file.write_bytes(keys)

    def tokens(subject: str) -> MachineTokens:
        rule = MachineSettings(
            name="pod",
            user="ci",
            issuer=discovery["issuer"],
            audience=AUDIENCE,
            claims={"sub": subject},
            keys_file=keys_file,
        )
        return MachineTokens((rule,), time.time)

    mine = tokens(f"system:serviceaccount:{namespace}:deploy")
    machine, claims = await mine.verify(await token(AUDIENCE))
    assert (machine.user, claims.audience) == ("ci", (AUDIENCE,))
    with pytest.raises(OidcError, match=r"\(aud\)"):
        await mine.verify(await token("https://other.example"))
    with pytest.raises(OidcError, match=f"claim sub is 'system:serviceaccount:{namespace}:deploy'"):
        await tokens("system:serviceaccount:default:deploy").verify(await token(AUDIENCE))
