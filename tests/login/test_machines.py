"""A job of a CI and a pod log in by a token of their own: the real client, ssh and gateway, and no person."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from stagedoor.admin import service as admin
from stagedoor.laptop.login_result import NOT_LOGGED_IN
from stagedoor.laptop.tunnel.errors import CREDENTIAL, REFUSED
from stagedoor.model.permission import Permission
from tests.fixtures.gateway import Gateway
from tests.login.conftest import settings
from tests.login.laptop import BareLaptop, new_laptop
from tests.login.machine import Key, Machine
from tests.waiting import BOUND_S, wait_until

GITHUB, CLUSTER = "https://token.actions.githubusercontent.com", "https://kubernetes.default.svc"
KEYS = {
    issuer: ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
    for issuer in (GITHUB, CLUSTER)
}


def token(base: str, issuer: str = GITHUB, **more: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": base,
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "repository": "acme/shop",
        "ref": "refs/heads/main",
        "iat": now,
        "exp": now + 300,
    }
    head = {"alg": "ES256", "kid": KEYS[issuer].kid}
    return jwt.encode(head, claims | more, KEYS[issuer], algorithms=["ES256"])


def publish(folder: Path, issuer: str) -> Path:
    file = folder / f"{issuer.rpartition('/')[2]}.json"
    file.write_text(json.dumps({"keys": [KEYS[issuer].as_dict(private=False)]}))
    return file


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("machines")
    text = settings()
    [web] = [line for line in text.partition("[web]")[2].splitlines() if "addresses" in line]
    base = f"http://{web.split(chr(34))[1]}"
    rules = "".join(
        f'\n[[machines]]\nname = "{name}"\nuser = "{user}"\nissuer = "{issuer}"\naudience = "{base}"\n'
        f'claims = {claims}\nkeys_file = "{publish(folder, issuer)}"\n'
        for name, user, issuer, claims in (
            ("shop", "ci-shop", GITHUB, '{ repository = "acme/shop", ref = "refs/heads/main" }'),
            ("lost", "ci-lost", GITHUB, '{ repository = "acme/lost" }'),
            ("pod", "ci-shop", CLUSTER, '{ sub = "system:serviceaccount:shop:deploy" }'),
        )
    )
    with Gateway(folder, text + rules) as running:
        with running.service() as service:
            admin.add_user(service, "ci-shop")
            admin.add_grant(service, "user:ci-shop", "app01")
        yield running.start()


@pytest.fixture
def job(tmp_path: Path, base: str) -> BareLaptop:
    return new_laptop(tmp_path, base)


@pytest.mark.identity(37)
def test_a_job_logs_in_by_its_token_and_runs_ssh(
    job: BareLaptop, base: str, gateway: Gateway
) -> None:
    running = job.start("login", base, "--id-token-env", "CI_TOKEN", CI_TOKEN=token(base) + "\n")
    assert running.end().returncode == 0, running.stderr
    assert "logged in as ci-shop" in running.stderr
    done = job.ssh("app01.ssh", "printf %s $APP_NAME")
    assert (done.returncode, done.stdout) == (0, "app01"), done.stderr
    # Good to its end without another question, which could bring nothing.
    ends = json.loads((job.folder / "state.json").read_text())["ends_at"]
    assert 0 < ends - time.time() <= 15 * 60
    assert 0 < ends - int((job.folder / "fresh_until").read_text()) <= 90

    audit = gateway.command("audit", "--json").stdout
    events = [json.loads(line) for line in audit.splitlines()]
    [login] = [event for event in events if event["fields"].get("action") == "login.machine"]
    fields = login["fields"]
    assert login["identity"] == "shop (machine)"
    assert (fields["user"], fields["issuer"]) == ("ci-shop", GITHUB)
    assert fields["subject"] == "repo:acme/shop:ref:refs/heads/main"
    assert "eyJ" not in audit
    [listed] = json.loads(gateway.command("sign-in", "list", "--json").stdout)
    assert (listed["user"], listed["method"]) == ("ci-shop", "machine")

    # An administrator can end it, too; no person is asked to sign in, terminal or not.
    gateway.command("sign-in", "end", "--user", "ci-shop", "--yes")
    (job.folder / "fresh_until").write_text("0")
    wait_until(lambda: job.ssh("app01.ssh", "true").returncode == 255)
    done = job.run("login", "--if-needed", "--folder", str(job.folder))
    assert done.returncode == NOT_LOGGED_IN
    assert "it used an ID token" in done.stderr


@pytest.mark.platform(1)
def test_a_job_runs_a_task_with_its_login(job: BareLaptop, base: str, gateway: Gateway) -> None:
    gateway.permit("user:ci-shop", "app01", Permission.RUN)
    running = job.start("login", base, "--id-token-env", "CI_TOKEN", CI_TOKEN=token(base))
    assert running.end().returncode == 0, running.stderr
    command = [
        sys.executable,
        "-m",
        "stagedoor",
        "run",
        "app01",
        "--",
        "sh",
        "-c",
        "echo $APP_NAME; exit 7",
    ]
    done = subprocess.run(
        command,
        env=job.env | {"STAGEDOOR_URL": base},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    assert (done.returncode, done.stdout) == (7, "app01\n"), done.stderr
    events = map(json.loads, gateway.command("audit", "--json").stdout.splitlines())
    [started] = [event for event in events if event["kind"] == "run.started"]
    assert started["identity"] == "ci-shop"


@pytest.mark.identity(37)
def test_a_pod_logs_in_by_its_service_account(job: BareLaptop, base: str, gateway: Gateway) -> None:
    file = job.home / "token"
    file.write_text(token(base, CLUSTER, sub="system:serviceaccount:shop:deploy", aud=[base]))
    done = job.run("login", base, "--id-token-file", str(file))
    assert done.returncode == 0, done.stderr
    assert "logged in as ci-shop" in done.stderr


@pytest.mark.identity(37)
def test_wrong_claims_are_refused_by_name_to_the_job_and_in_the_log(
    job: BareLaptop, base: str, gateway: Gateway
) -> None:
    before = job.files()
    for code, more, said in (
        (
            CREDENTIAL,
            {"ref": "refs/heads/other"},
            "nearest is 'shop', but claim ref is 'refs/heads/other'",
        ),
        (CREDENTIAL, {"aud": "https://other.example"}, "is for 'https://other.example' (aud)"),
        (CREDENTIAL, {"exp": int(time.time()) - 3600}, "the ID token ended 60 min ago"),
        (REFUSED, {"repository": "acme/lost"}, "is for the user 'ci-lost', who does not exist"),
    ):
        done = job.run("login", base, "--id-token-env", "T", T=token(base, **more))
        assert said in done.stderr, done.stderr
        assert done.returncode == code, done.stderr
    why = "nearest is 'shop', but claim ref is"
    gateway.wait_for(
        lambda line: line["event"] == "machine login refused" and why in line.get("why", "")
    )
    assert "no ID token" in job.run("login", base, "--id-token-env", "NONE").stderr
    assert job.files() == before


def test_a_token_without_the_key_or_of_another_gateway_is_worth_nothing(
    base: str, tmp_path: Path
) -> None:
    """Another gateway that was shown the same signature, and a key that its holder did not show."""
    key = Key(tmp_path)
    machine, shown = Machine(base, key), token(base)
    digest = hashlib.sha256(shown.encode()).hexdigest()
    for text in (f"stagedoor machine\nhttps://other.example\n{digest}\n", "stagedoor machine\n"):
        status, said = machine.ask("/login/machine", token=shown, signature=key.sign(text))
        assert (status, "signature is not valid" in said["message"]) == (400, True)
    right = key.sign(f"stagedoor machine\n{base}\n{digest}\n")
    for wrong in ("", "x" * 9000, shown + "x", 1, None):
        assert machine.ask("/login/machine", token=wrong, signature=right)[0] == 400
    status, got = machine.ask("/login/machine", token=shown, signature=right)
    assert (status, got["user"]) == (200, "ci-shop")
    assert got["certificate"].startswith("ssh-ed25519-cert-v01@openssh.com ")
