"""Settings: what is left out has a safe default, and what is wrong is named."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.errors import SettingsError
from stagedoor.serve.prepare import check
from stagedoor.settings.file import find_settings_file, load_settings, parse_settings
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings, parse_networks

SINK = '[[audit.sinks]]\nname = "a"\nurl = '

MACHINE = """[[machines]]
name = "{name}"
user = "{user}"
issuer = "{issuer}"
audience = "{audience}"
claims = {claims}
"""
BUILDKITE = "https://agent.buildkite.com"
GITHUB = "https://token.actions.githubusercontent.com"


def machine(
    name: str = "a",
    user: str = "ci",
    issuer: str = "https://ci.example",
    audience: str = "x",
    claims: str = '{ sub = "y" }',
) -> str:
    return MACHINE.format(name=name, user=user, issuer=issuer, audience=audience, claims=claims)


WRONG = [
    *(
        (f"[keys]\nprincipal_prefix = '{prefix}'", "keys.principal_prefix")
        for prefix in ("", "sd", ":", "sd:x", "s d:", "a,b:", '":', "sd::", f"{'a' * 32}:")
    ),
    ('[keys]\nprincipal_prefix = "sd:\\n"', "keys.principal_prefix"),
    (machine(user="CI"), "machines.user"),
    (machine(issuer="http://ci.example"), "machines.issuer"),
    (machine(issuer="https://ci.example/?x"), "machines.issuer"),
    (machine(audience=""), "machines[0].audience"),
    (machine(claims="{}"), "machines[0].claims"),
    (machine(claims="{ sub = [] }"), "machines.claims.sub is empty"),
    (machine(claims='{ sub = "" }'), "machines.claims.sub is empty"),
    (machine(claims='{ sub = "a*b" }'), "may be at its end"),
    (machine(issuer=GITHUB, claims='{ ref = "refs/heads/main" }'), "every customer of"),
    (machine(issuer=GITHUB, claims='{ repository = "*" }'), "every customer of"),
    (machine(issuer=GITHUB, claims='{ sub = "repo:*" }'), "every customer of"),
    (machine(issuer=GITHUB, claims='{ sub = "repo:acme*" }'), "every customer of"),
    (machine(issuer=GITHUB, claims='{ sub = ["x", "repo:acme/shop*"] }'), "every customer of"),
    (
        machine(
            issuer=GITHUB, claims='{ job_workflow_ref = "acme/ci/.github/workflows/x.yml@v1" }'
        ),
        "every customer of",
    ),
    (machine(issuer=GITHUB) + "own_issuer = true", "signs for all its customers"),
    (machine(issuer=BUILDKITE, claims='{ build_branch = "main" }'), "every customer of"),
    (machine(issuer=BUILDKITE, claims='{ sub = "organization:*" }'), "every customer of"),
    (
        machine(issuer="https://app.terraform.io", claims='{ terraform_run_phase = "apply" }'),
        "every customer of",
    ),
    (
        machine(issuer="https://accounts.google.com", claims='{ email_verified = "true" }'),
        "every customer of",
    ),
    (machine(claims='{ ref = "main" }'), "set own_issuer = true"),
    (machine(claims='{ sub = "*" }'), "set own_issuer = true"),
    (machine(claims='{ sub = "project:*" }'), "set own_issuer = true"),
    (machine() + "session_s = 7200", "session_s"),
    (machine() + machine(), "the same name"),
    (machine() + machine("b") + 'keys_file = "/k"', "differ in keys_file"),
    (
        machine(audience="us")
        + '[[sso]]\nname = "b"\nissuer = "https://ci.example"\nclient_id = "us"\n'
        'client_secret_file = "/s"\nredirect_uri = "https://gw.example/sign-in/sso"',
        "sso.client_id of the same issuer",
    ),
    (f'{SINK}"syslog+udp://h"', "is not a sink"),
    (f'{SINK}"syslog+tls://"', "is not a syslog server"),
    (f'{SINK}"syslog+tls://h:70000"', "audit.sinks.url"),
    (f'{SINK}"syslog+tls://u:p@h"', "is not a syslog server"),
    (f'{SINK}"syslog+tcp://192.0.2.1"', "is not encrypted"),
    (f'{SINK}"http://logs.example.com/"', "plain http"),
    (f'{SINK}"https://u:p@logs.example.com/"', "password"),
    (f'{SINK}"file://etc/x"', "does not name a file"),
    (f'{SINK}"file:///x"\ntoken_file = "/t"', "audit.sinks.token_file"),
    (f'{SINK}"syslog+tls://h"\nkey_file = "/t"', "go together"),
    (f'{SINK}"https://h/"\nca_fil = "/t"', "did you mean `ca_file`"),
    (f'{SINK}"file:///x"\n{SINK}"file:///y"', "the same name"),
    ('[[audit.sinks]]\nname = "a b"\nurl = "file:///x"', "audit.sinks.name"),
    ("[audit]\nkeep_days = 3", "audit.keep_days needs a sink"),
    ("[audit]\nrefuse_after_s = 30", "audit.refuse_after_s needs a sink"),
    ('[tunnel]\naddresses = ["x"]', "tunnel.addresses"),
    ('[tunnel]\naddresses = ["::1:22"]', "tunnel.addresses"),
    ('[tunnel]\naddresses = ["127.0.0.1:70000"]', "tunnel.addresses"),
    ('[tunnel]\naddresses = ["127.0.0.1:+22"]', "tunnel.addresses"),
    ("[tunnel]\naddresses = []", "tunnel.addresses"),
    ('[tunnel]\ntls_addresses = ["[::1]:0"]', "tunnel.tls_addresses"),
    ("[tunnel]\ncertificate_file = 1", "tunnel.certificate_file"),
    ('[listen]\nnetworks = ["10.0.0.1/8"]', "listen.networks"),
    ('[listen]\nproxy_protocol_from = ["x"]', "listen.proxy_protocol_from"),
    ("[step_up]\nfresh_s = 0", "step_up.fresh_s"),
    ("[step_up]\nfresh_s = inf", "step_up.fresh_s"),
    ("[step_up]\nfresh_s = nan", "step_up.fresh_s"),
    ("[listen]\nnetwork = []", "`network`"),
    ("[workers]\ncount = 1.5", "workers.count"),
    ("[workers]\ndrain_timeout_s = -1", "workers.drain_timeout_s"),
    ("[workers]\ndrain_timeout_s = inf", "workers.drain_timeout_s"),
    ("[relay]\nidle_timeout_s = 0", "relay.idle_timeout_s"),
    ('[web]\ndomain = "Shell.example.com"', "web.domain"),
    ('[web]\ndomain = "https://shell.example.com"', "web.domain"),
    ('[web]\npath = "stagedoor"', "web.path"),
    ('[web]\npath = "/stagedoor/"', "web.path"),
    ('[web]\norigins = ["portal.example.com"]', "web.origins"),
    ('[[shells.static]]\nhost = "x"', "`app`"),
    ('[[shells.static]]\napp = "a"\nhost = ""', "shells.static[0].host"),
    ('[[shells.static]]\napp = "A"\nhost = "x"', "'A'"),
    ('[[shells.static]]\napp = "a-ssh"\nhost = "x"', "'a-ssh'"),
    ('[[shells.static]]\napp = "a"\nenvironment = "ssh"\nhost = "x"', "'ssh'"),
    ('[[shells.static]]\napp = "a"\nhost = "x"\nport = 0', "shells.static[0].port"),
    ('[[shells.static]]\napp = "a"\nhost = "x"\nnetworks = ["y"]', "shells.static[0]: networks"),
    ('[[shells.static]]\napp = "a"\nhost = "x"\nresume_port = 2', "resume_port needs login_name"),
    ('[[shells.local]]\napp = "a"\n[[shells.local]]\napp = "a"', "'a' twice"),
    ('[[shells.local]]\napp = "a"\n[[shells.static]]\napp = "a"\nhost = "x"', "'a' twice"),
    ('[[shells.local]]\napp = "a"\nenv = {A = 1}', "shells.local[0].env"),
    ('[log]\nformat = "xml"', "log.format"),
    ('[health]\naddress = "x"', "health.address"),
    (
        '[keys]\nhost_ca_file = "ca.pub"\n[ssh]\naddresses = ["127.0.0.1:0"]',
        "ssh.host_certificate_file",
    ),
    ('[keys]\nhost_ca_file = "ca.pub"\n[[shells.local]]\napp = "a"', "shells.local"),
    ("data_dir = 1", "data_dir"),
    ("nonsense = 1", "`nonsense`"),
]


@pytest.mark.parametrize(("text", "named"), WRONG)
def test_a_wrong_setting_is_named_in_one_line(text: str, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, "stagedoor.toml")
    [line] = str(caught.value).splitlines()
    assert re.match(r"stagedoor\.toml(?::\d+)?: ", line)
    assert named in line
    assert caught.value.exit_code == 2


def test_the_line_of_a_mistake_is_named_to_whoever_reads_the_file() -> None:
    """By every command, and not by the doctor alone."""
    with pytest.raises(SettingsError, match=r"^stagedoor\.toml:3: workers\.count: "):
        parse_settings('[workers]\n# two\ncount = "x"\n', "stagedoor.toml")
    with pytest.raises(SettingsError, match=r"^stagedoor\.toml:2: this is not valid TOML"):
        parse_settings("[log]\nlevel = \n", "stagedoor.toml")


@given(st.text(max_size=200))
def test_whatever_a_file_holds_it_is_settings_or_one_documented_error(text: str) -> None:
    with contextlib.suppress(SettingsError):
        assert isinstance(parse_settings(text, "x"), Settings)


def test_an_empty_file_lets_nobody_in_from_outside() -> None:
    settings = parse_settings("", "x")
    assert settings.tunnel.addresses == ("127.0.0.1:8022",)
    assert all(network.is_private for network in parse_networks(settings.listen.networks))
    assert settings.listen.proxy_protocol_from == ()


@pytest.mark.parametrize(
    "claims",
    ['{ sub = "repo:acme/shop:*" }', '{ sub = "repo:acme/*" }', '{ repository_owner = "acme" }'],
)
def test_a_machine_of_a_shared_issuer_says_whose_it_is(claims: str) -> None:
    [found] = parse_settings(machine(issuer=GITHUB, claims=claims), "x").machines
    assert found.session_s == 15 * 60


@pytest.mark.parametrize(
    "table",
    [
        machine(issuer=BUILDKITE, claims='{ sub = "organization:acme:*" }'),
        machine(issuer=BUILDKITE, claims='{ organization_slug = "acme" }'),
        machine(claims='{ sub = "system:serviceaccount:shop:*" }'),
        machine(claims='{ ref_protected = "true" }') + "own_issuer = true",
    ],
)
def test_a_machine_says_whose_it_is_unless_the_issuer_is_ones_own(table: str) -> None:
    [found] = parse_settings(table, "x").machines
    assert found.name == "a"


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no settings file"):
        load_settings(tmp_path / "gone.toml")


def test_the_default_file_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagedoor.settings.file.find_settings_file", lambda: tmp_path / "no")
    assert load_settings(None) == parse_settings("", "x")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"binary\.toml"):
        load_settings(file)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:8022", ("127.0.0.1", 8022)),
        ("[::1]:8022", ("::1", 8022)),
        (":8022", ("", 8022)),
        ("gateway.example:0", ("gateway.example", 0)),
    ],
)
def test_an_address_has_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


def test_a_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert parse_settings('data_dir = "~/door"', "x").data_dir == Path("/home/alice/door")


def test_a_tls_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "tls.key"
    key.write_text("whatever")
    key.chmod(0o644)
    file = tmp_path / "stagedoor.toml"
    file.write_text(
        f'[tunnel]\ntls_addresses = [":0"]\ncertificate_file = "{key}"\nkey_file = "{key}"\n'
    )
    with pytest.raises(SettingsError, match=rf"tunnel\.key_file.*chmod o= {key}"):
        check(file)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (
            "[listen]\nnetwork = []",
            "listen: there is no setting `network`; did you mean `networks`?",
        ),
        ("[tunel]\naddresses = []", "did you mean `tunnel`?"),
        ('[[shells.local]]\napp = "a"\nenvironmen = "x"', "did you mean `environment`?"),
        ("[keys]\nuser_ca = 'x'", "did you mean `user_ca_file`?"),
    ],
)
def test_a_misspelt_setting_is_told_with_the_one_that_was_meant(text: str, meant: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, "stagedoor.toml")
    assert str(caught.value).endswith(meant)


@pytest.mark.parametrize("text", ["[listen]\nzzz = 1", "qqqqqq = 1"])
def test_a_setting_like_no_other_is_told_alone(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, "stagedoor.toml")
    assert "did you mean" not in str(caught.value)
    assert "there is no setting" in str(caught.value)


@given(st.text(max_size=20), st.sampled_from(["", "[web]", "[[shells.static]]", "[kubernetes]"]))
def test_whatever_the_misspelt_name_is_it_is_one_line(name: str, table: str) -> None:
    key = "".join(c for c in name if c.isprintable() and c not in '"\\') or "x"
    with pytest.raises(SettingsError) as caught:
        parse_settings(f'{table}\n"{key} " = 1\n', "stagedoor.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[workers]\ncount = "x"', "f: workers.count: it must be a whole number, and is text"),
        ("[workers]\ncount = 0", "f: workers.count: it must be a whole number >= 1"),
        (
            "[recording]\nrecord_input = 1",
            "f: recording.record_input: it must be true or false, and is a whole number",
        ),
        (
            '[relay]\nidle_timeout_s = "5m"',
            "f: relay.idle_timeout_s: it must be a number, and is text",
        ),
        ("listen = 3", "f: listen: it must be a table, and is a whole number"),
        ('[listen]\nnetworks = "x"', "f: listen.networks: it must be a list, and is text"),
        ('[[shells.static]]\nhost = "x"', "f: shells.static[0]: `app` is missing"),
        (
            '[log]\nlevel = "warn"',
            "f: log.level: 'warn' is not one of: debug, error, info, warning",
        ),
        ("data_dir = 3", "f: data_dir: it must be a path as text, and is 3"),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_toml(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, "f")
    assert says in re.sub(r"^f:\d+: ", "f: ", str(caught.value))
    assert "`int`" not in str(caught.value)


def test_an_account_without_a_file_of_its_own_takes_the_machine_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runuser -u stagedoor -- stagedoor doctor`: $HOME is root's still, and cannot be looked into."""
    system, home = tmp_path / "system.toml", tmp_path / "home"
    own = home / "stagedoor/stagedoor.toml"
    monkeypatch.setattr("stagedoor.settings.file.SYSTEM", system)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    assert find_settings_file() == own
    system.touch()
    assert find_settings_file() == system
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_settings_file() == own
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert find_settings_file() == system
