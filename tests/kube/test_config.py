"""The API's address and our user: kubeconfigs and pods as they come, and as they come wrong."""

import asyncio
import base64
import json
import os
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.kube import access, credentials
from stagedoor.kube.access import load_service_account
from stagedoor.kube.credentials import CredentialError, Header, StaticCredential, TokenFile
from stagedoor.kube.kubeconfig import from_files, load, parse
from stagedoor.kube.plugin import KeyPair, Plugin, Program
from stagedoor.model.errors import SettingsError
from tests.kube.api.lone import make_ca, sign

SECRET = "the-secret-token"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.crt, me.crt, me.key and other.key."""
    folder = tmp_path_factory.mktemp("pem")
    make_ca(folder)
    sign(folder, "me", "/CN=me", "extendedKeyUsage=clientAuth")
    sign(folder, "other", "/CN=other", "extendedKeyUsage=clientAuth")
    return folder


def write(path: Path, user: Any = None, cluster: Any = None, **other: Any) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "apps"}},
            {"name": "bare", "context": {"cluster": "c"}},
            {"name": "lost", "context": {"cluster": "gone", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://api.test:6443", **(cluster or {})}}
        ],
        "users": [{"name": "u", "user": user or {"token": SECRET}}],
        **other,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def test_the_current_context_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "config")
    kubeconfig = load(path)
    assert str(kubeconfig.address) == "https://api.test:6443"
    assert kubeconfig.namespace == "apps"
    assert (await kubeconfig.credential.make_header()).authorization == f"Bearer {SECRET}"
    bare = load(write(tmp_path / "bare", **{"current-context": "bare"}))
    assert bare.namespace == "default"
    assert await bare.credential.make_header() == Header()
    assert SECRET not in repr(kubeconfig)


async def test_yaml_as_kubectl_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        f"""
apiVersion: v1
clusters:
- cluster:
    insecure-skip-tls-verify: true
    server: https://[2001:db8::1]/k8s/clusters/c-1/
    tls-server-name: api.test
  name: c
contexts:
- context: {{cluster: c, user: u}}
  name: here
current-context: here
kind: Config
preferences: {{}}
users:
- name: u
  user:
    token: {SECRET}
"""
    )
    kubeconfig = load(path)
    assert kubeconfig.address == access.ApiAddress("2001:db8::1", 443, True, "/k8s/clusters/c-1")
    assert kubeconfig.address.host_header == "[2001:db8::1]:443"
    assert kubeconfig.trust.server_name == "api.test"


def test_several_files_are_merged_and_the_first_counts(tmp_path: Path) -> None:
    one = write(tmp_path / "one", **{"current-context": ""})
    two = write(tmp_path / "two", cluster={"server": "https://other.test"})
    kubeconfig = from_files([tmp_path / "none", one, two])
    assert kubeconfig.address.host == "api.test"
    assert "one" in kubeconfig.source
    assert "two" in kubeconfig.source


def test_a_path_in_it_is_relative_to_it(
    tmp_path: Path, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path / "config",
        {"client-certificate": "me.crt", "client-key": "me.key"},
        {"certificate-authority": "ca.crt"},
    )
    for name in ("ca.crt", "me.crt", "me.key"):
        (tmp_path / name).write_bytes((pem / name).read_bytes())
    monkeypatch.chdir(tmp_path.parent)
    trust = load(path).trust
    assert trust.ca == tmp_path / "ca.crt"
    before = trust.make_context()
    assert trust.make_context() is before
    (tmp_path / "me.crt").write_bytes((pem / "me.crt").read_bytes() + b"\n")
    assert trust.make_context() is not before


def test_a_key_in_it_touches_no_disk(
    tmp_path: Path, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.NamedTemporaryFile", None)
    user = {
        "client-certificate-data": data(pem / "me.crt"),
        "client-key-data": data(pem / "me.key"),
    }
    kubeconfig = load(
        write(tmp_path / "config", user, {"certificate-authority-data": data(pem / "ca.crt")})
    )
    assert kubeconfig.trust.make_context().get_ca_certs()
    assert "PRIVATE" not in repr(kubeconfig)


def test_the_cluster_s_own_ca_is_trusted_as_it_is_and_no_other(tmp_path: Path, pem: Path) -> None:
    """It has no key identifier, which Python asks for by default since 3.13."""
    path = write(tmp_path / "config", None, {"certificate-authority": str(pem / "ca.crt")})
    context = load(path).trust.make_context()
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("user", "cluster", "other", "says"),
    [
        (None, None, {"current-context": ""}, "has no current-context"),
        (None, None, {"current-context": "x"}, "no context 'x'; it has: bare, here, lost"),
        (None, None, {"current-context": "lost"}, "has no cluster 'gone'; it has: c"),
        (None, None, {"users": None}, "has no user 'u'; it has: none"),
        (None, None, {"clusters": [{"name": "c"}]}, "is not a kubeconfig: Object missing required"),
        (None, {"server": "api.test:6443"}, {}, "is no URL of an API"),
        (None, {"server": "https://a:b@api.test"}, {}, "more in its URL than host, port and path"),
        (None, {"server": "https://api.test:99999"}, {}, "is no URL"),
        (None, {"server": "http://api.test"}, {}, "a credential in the clear"),
        (None, {"proxy-url": "http://proxy.test"}, {}, "proxy-url in"),
        (None, {"certificate-authority": "/none/ca.crt"}, {}, "/none/ca.crt): No such file"),
        (None, {"certificate-authority-data": "%%%"}, {}, "is not base64"),
        (None, {"certificate-authority-data": "QUJD"}, {}, "is not in PEM"),
        ({"auth-provider": {"name": "gcp"}}, None, {}, "auth-provider in"),
        ({"tokenFile": "/none/token"}, None, {}, "cannot read the token in /none/token"),
        ({"token": "two words"}, None, {}, "is not a bearer token"),
        ({"exec": {"command": "x"}}, None, {}, "it must be client.authentication.k8s.io/v1"),
        (
            {
                "exec": {
                    "command": "x",
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "interactiveMode": "Always",
                }
            },
            None,
            {},
            "cannot answer a prompt",
        ),
        ({"as-groups": ["admins"], "token": "x"}, None, {}, "without as"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_without_the_secret(
    tmp_path: Path, user: Any, cluster: Any, other: Any, says: str
) -> None:
    path = write(tmp_path / "config", user, cluster, **other)
    with pytest.raises(SettingsError) as raised:
        load(path)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "two words" not in str(raised.value)


def test_a_key_that_is_anothers_is_told(tmp_path: Path, pem: Path) -> None:
    user = {"client-certificate": str(pem / "me.crt"), "client-key": str(pem / "other.key")}
    with pytest.raises(SettingsError, match="cannot be used"):
        load(write(tmp_path / "config", user))


def test_no_file_at_all_says_what_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a{os.pathsep}{tmp_path}/b")
    with pytest.raises(SettingsError, match=r"no kubeconfig at .*/a, .*/b: name one"):
        load()
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / ".kube" / "config")
    assert load().address.host == "api.test"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_kubeconfig_or_one_error(content: bytes) -> None:
    with suppress(SettingsError):
        parse(Path("config"), content)


def test_yaml_that_would_fill_the_memory_or_run_something_is_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    for content in (
        f"!!python/object/apply:os.system [touch {tmp_path}/ran]",
        "[" * 10_000,
        f"clusters: {{}}\n{bomb}",
    ):
        path = tmp_path / "config"
        path.write_text(content)
        with pytest.raises(SettingsError):
            load(path)
    assert not (tmp_path / "ran").exists()


# ---- in a pod


@pytest.fixture
def account(tmp_path: Path, pem: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("stagedoor")
    (tmp_path / "ca.crt").write_bytes((pem / "ca.crt").read_bytes())
    return tmp_path


POD = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}


async def test_in_a_pod_the_service_account_counts(account: Path) -> None:
    kubeconfig = load_service_account(account, POD.get)
    assert str(kubeconfig.address) == "https://[fd00::1]:443"
    assert kubeconfig.namespace == "stagedoor"
    assert (await kubeconfig.credential.make_header()).authorization == "Bearer first"


async def test_a_token_that_the_kubelet_has_renewed_is_read_within_a_minute(account: Path) -> None:
    now = 0.0
    token = TokenFile(account / "token", clock=lambda: now)
    first = await token.make_header()
    (account / "token").write_text("second")
    now = credentials.TOKEN_FILE_AGE_S - 1
    assert await token.make_header() == first
    now += 1
    assert (await token.make_header()).authorization == "Bearer second"
    (account / "token").write_text("third")
    # Refused before that: it is read at once.
    assert await token.renew(await token.make_header())
    assert (await token.make_header()).authorization == "Bearer third"
    assert not await token.renew(await token.make_header())
    (account / "token").unlink()
    with pytest.raises(CredentialError, match="cannot read the token"):
        await token.renew(await token.make_header())


def test_what_is_no_pod_or_has_no_token_is_told(account: Path) -> None:
    with pytest.raises(SettingsError, match="this is not a pod"):
        load_service_account(account, dict[str, str]().get)
    (account / "token").unlink()
    with pytest.raises(SettingsError, match="automountServiceAccountToken"):
        load_service_account(account, POD.get)
    (account / "token").write_text("")
    with pytest.raises(SettingsError, match="is empty"):
        load_service_account(account, POD.get)


# ---- programs that bring a credential

V1 = "client.authentication.k8s.io/v1"


def program(tmp_path: Path, code: str, **other: Any) -> Program:
    script = tmp_path / "plugin.py"
    script.write_text("import json, os, sys\n" + code)
    return Program(
        sys.executable,
        (str(script),),
        {"COUNT": str(tmp_path / "count")},
        V1,
        **{"cluster": None, **other},
    )


def plugin(program_: Program, now: list[float] | None = None) -> tuple[Plugin, list[KeyPair]]:
    pairs: list[KeyPair] = []
    clock = now or [0.0]
    return Plugin(program_, on_key_pair=pairs.append, now=lambda: clock[0]), pairs


SAY = """
count = open(os.environ["COUNT"], "a+"); count.write("x"); count.flush(); count.seek(0)
def say(**status):
    print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                      "status": status}))
"""


async def test_a_program_is_run_once_for_many_and_again_before_its_credential_ends(
    tmp_path: Path,
) -> None:
    code = SAY + 'say(token=f"t{len(count.read())}", expirationTimestamp="1970-01-01T01:00:00Z")'
    now = [0.0]
    one, _ = plugin(program(tmp_path, code), now)
    headers = await asyncio.gather(*(one.make_header() for _ in range(20)))
    assert {header.authorization for header in headers} == {"Bearer t1"}
    now[0] = 3600 - 59
    assert (await one.make_header()).authorization == "Bearer t2"
    refused = Header("Bearer t2")
    now[0] = 0
    assert all(await asyncio.gather(*(one.renew(refused) for _ in range(10))))
    assert (await one.make_header()).authorization == "Bearer t3"


async def test_it_is_told_what_it_may_need_and_nothing_of_ours_is_lost(tmp_path: Path) -> None:
    code = SAY + 'say(token=os.environ["KUBERNETES_EXEC_INFO"].encode().hex())'
    request = {"server": "https://api.test"}
    one, _ = plugin(program(tmp_path, code, cluster=request))
    token = (await one.make_header()).authorization.removeprefix("Bearer ")
    assert json.loads(bytes.fromhex(token)) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": request},
    }


async def test_it_may_bring_a_certificate(tmp_path: Path, pem: Path) -> None:
    code = SAY + f"say(clientCertificateData=open({str(pem / 'me.crt')!r}).read(), "
    code += f"clientKeyData=open({str(pem / 'me.key')!r}).read())"
    one, pairs = plugin(program(tmp_path, code))
    assert await one.make_header() == Header()
    assert "BEGIN CERTIFICATE" in pairs[0].certificate
    assert "PRIVATE" not in repr(pairs)
    assert len(pairs) == 1


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("print('no json of " + SECRET + "')", "printed no ExecCredential in JSON"),
        ("print('{}')", "not an ExecCredential of"),
        (SAY + "say()", "neither a token nor a certificate"),
        (SAY + "say(clientCertificateData='x')", "neither a token nor a certificate"),
        (SAY + "say(token='a b')", "is not a bearer token"),
        (SAY + "say(token='a', expirationTimestamp='soon')", "which is not a time"),
        # Whose time it is does not stand in it: it was read as this machine's.
        (SAY + "say(token='a', expirationTimestamp='2099-01-01T00:00:00')", "which is not a time"),
        (
            "print('" + SECRET + "'); sys.exit('please log in:\\n  cloud login')",
            "please log in: cloud",
        ),
        ("sys.stdout.write('" + SECRET + "' * 100000)", "printed more than 1048576 bytes"),
    ],
)
async def test_a_program_that_fails_is_told_by_what_it_complains_of(
    tmp_path: Path, code: str, says: str
) -> None:
    one, _ = plugin(program(tmp_path, code))
    with pytest.raises(CredentialError) as raised:
        await one.make_header()
    assert says in str(raised.value)
    assert SECRET not in str(raised.value)


async def test_a_program_that_is_not_there_or_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = plugin(Program("/none/login", (), {}, V1, None, "get it from\nhttps://cloud.test"))
    with pytest.raises(CredentialError, match=r"cannot run /none/login.* get it from https"):
        await one.make_header()
    monkeypatch.setattr("stagedoor.kube.plugin.RUN_LIMIT_S", 0.2)
    one, _ = plugin(program(tmp_path, "import time; time.sleep(60)"))
    with pytest.raises(CredentialError, match="within 0 s"):
        await one.make_header()


async def test_a_kubeconfig_names_a_program_relative_to_itself(tmp_path: Path) -> None:
    script = tmp_path / "bin" / "login"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/sh\necho "{\\"apiVersion\\":\\"$V\\",\\"kind\\":\\"ExecCredential\\",'
        '\\"status\\":{\\"token\\":\\"$1\\"}}"\n'
    )
    script.chmod(0o755)
    entry = {
        "exec": {
            "apiVersion": V1,
            "command": "bin/login",
            "args": ["from-the-program"],
            "env": [{"name": "V", "value": V1}],
        }
    }
    kubeconfig = load(write(tmp_path / "config", entry))
    assert (await kubeconfig.credential.make_header()).authorization == "Bearer from-the-program"


def test_whom_to_act_as_is_said_in_headers(tmp_path: Path) -> None:
    user = {
        "token": "x",
        "as": "jane",
        "as-groups": ["dev", "ops"],
        "as-user-extra": {"scopes": ["a"]},
    }
    headers = load(write(tmp_path / "config", user)).impersonation.make_headers()
    assert headers == [
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Extra-scopes", "a"),
    ]
    with pytest.raises(SettingsError, match="no HTTP header can hold"):
        load(write(tmp_path / "config", {"token": "x", "as": "jane\r\nX: y"}))


async def test_a_name_and_password_are_sent_as_such(tmp_path: Path) -> None:
    kubeconfig = load(write(tmp_path / "config", {"username": "u", "password": "p"}))
    assert isinstance(kubeconfig.credential, StaticCredential)
    assert (await kubeconfig.credential.make_header()).authorization == "Basic dTpw"
