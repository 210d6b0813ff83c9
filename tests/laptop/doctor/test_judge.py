"""The meaning of answers on the path. The words of ssh are those of OpenSSH 9.2 and 10.0."""

import pytest

from stagedoor.laptop import web
from stagedoor.laptop.doctor import judge
from stagedoor.laptop.doctor.judge import judge_route, judge_ssh_end, parse_ssh_config
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.wire.finding import Level
from stagedoor.wire.terminal import frames

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("stderr", "hop"),
    [
        ("Host key verification failed.\r\n", "host certificate"),
        ("No ED25519 host key is known for app01.ssh and you have requested…\r\n", "host certificate"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\n", "host certificate"),
        ("Certificate invalid: expired\r\n", "host certificate"),
        ("Certificate invalid: not yet valid\r\nNo ED25519 host key is known for [gw]:22 and you…\r\n",
         "clock"),
        ("channel 0: open failed: administratively prohibited: no grant for 'alice' to enter app02 (an "
         "administrator gives one with: …)\r\nstdio forwarding failed\r\n"
         "kex_exchange_identification: Connection closed by remote host\r\n", "grant"),
        ("channel 0: open failed: administratively prohibited: the grant for 'alice' to enter app02 ended at "
         "2027-01-15T08:00:00Z; ask an administrator for another\r\n", "grant"),
        ("channel 0: open failed: connect failed: app01's shell could not be reached: Connection refused\r\n",
         "shell"),
        ("dev@app01.ssh: Permission denied (publickey).\r\n", "key"),
        ("Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures\r\n", "key"),
        ("@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\r\n", "key"),
        ("ssh: Could not resolve hostname app01.ssh: Name or service not known\r\n",
         "ssh configuration"),
        ("/home/x/.ssh/config: line 3: Bad configuration option: proxyjum\r\n", "ssh configuration"),
        ("Unable to negotiate with 1.2.3.4: no matching host key type found.\r\n", "sshd"),
        ("kex_exchange_identification: Connection closed by remote host\r\n", "sshd"),
        ("ssh: connect to host gw port 22: Connection refused\r\n", "gateway"),
        ("stagedoor: app01.ssh:22 is not open to dev: no grant\nConnection closed by UNKNOWN\r\n",
         "shell"),
        ("stagedoor: this key is new here. Sign in first: run ssh once without BatchMode, or: stagedoor "
         "login\r\nalice@gw: Permission denied (publickey).\r\n", "key"),
        ("stagedoor: the sign-in of this key is over. Sign in first: run ssh once without BatchMode, or: "
         "stagedoor login\r\nalice@gw: Permission denied (publickey).\r\n", "key"),
        ("", "shell"),
    ],
)  # fmt: skip
def test_ssh_s_own_words_name_the_hop(stderr: str, hop: str) -> None:
    found, finding = judge_ssh_end("app01.ssh", 255, stderr)
    assert (found, finding.level) == (hop, Level.FAIL)
    assert finding.fix
    assert "\n" not in finding.what


def test_a_key_without_a_sign_in_is_signed_in() -> None:
    line = "stagedoor: the sign-in of this key is over. Sign in first: run ssh once without BatchMode, or: "
    _, finding = judge_ssh_end("app01.ssh", 255, f"{line}stagedoor login\r\n")
    assert finding.what == "ssh app01.ssh: the sign-in of this key is over"
    assert finding.fix == "run ssh once without BatchMode, or: stagedoor login"


def test_the_terminal_s_subprotocol_is_that_of_the_frames() -> None:
    """The walk is in the one-file client, and the frames are not."""
    assert web.SUBPROTOCOL == frames.SUBPROTOCOL


def test_a_login_that_works_is_well() -> None:
    assert judge_ssh_end("app01.ssh", 0, "a banner")[1].level is Level.OK


@pytest.mark.parametrize(
    ("code", "line", "hop"),
    [
        (errors.UNREACHABLE, "cannot reach the gateway g: its name does not resolve", "name"),
        (errors.UNREACHABLE, "cannot reach the gateway g: Connection refused", "gateway"),
        (errors.UNREACHABLE, "cannot reach the corporate proxy p: timed out", "corporate proxy"),
        (errors.VIA, "the corporate proxy refused", "corporate proxy"),
        (errors.TLS, "the certificate is not trusted", "TLS"),
        (errors.FORBIDDEN, "app01.ssh:22 is not open to dev", "grant"),
        (errors.START_TIMEOUT, "did not answer in time", "shell"),
        (errors.CREDENTIAL, "refused the credential", "credential"),
    ],
)
def test_each_failure_of_the_tunnel_has_its_hop(code: int, line: str, hop: str) -> None:
    assert judge.judge_tunnel_failure(TunnelError(code, line))[0] == hop


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (b"Not allowed at this time", "PerSourcePenalties"),
        (b"HTTP/1.1 400 Bad Request", "does not speak SSH"),
        (b"\x15\x03\x01", "does not speak SSH"),
        (b"", "hung up without an answer"),
    ],
)
def test_what_is_no_sshd_is_told_apart(heard: bytes, words: str) -> None:
    hop, finding = judge.judge_greeting("app01.ssh", heard)
    assert hop == "sshd"
    assert words in finding.what
    assert finding.level is Level.FAIL


def test_times_have_their_levels() -> None:
    assert [judge.judge_clock(NOW, NOW + s, "x").level for s in (1, -60, 600)] == [
        "ok",
        "warn",
        "fail",
    ]
    assert "60 s behind" in judge.judge_clock(NOW, NOW - 60, "x").what
    day = 86400.0
    assert judge.check_certificate("gw", NOW + 30 * day, NOW).level is Level.OK
    assert judge.check_certificate("gw", NOW + day, NOW).level is Level.WARN
    assert judge.judge_idle(300, None).level is Level.OK
    cut = judge.judge_idle(30, 60)
    assert cut.level is Level.WARN
    assert "ServerAliveInterval" in cut.fix


@pytest.mark.parametrize(
    ("status", "hop"),
    [(401, "credential"), (429, "credential"), (403, "grant"), (404, "grant"), (503, "shell")],
)
def test_the_web_s_refusals_name_the_hop(status: int, hop: str) -> None:
    assert judge.judge_web_refusal("app01", status, "no")[0] == hop
    assert judge.judge_web_refusal("app01", status, "")[0] == "gateway"


@pytest.mark.parametrize(
    ("status", "body", "level", "words"),
    [
        (200, b'{"state": "ready", "terminals": [{"name": "main"}]}', "ok", "open terminals: 1"),
        (200, b'{"state": "ready", "terminals": []}', "ok", "open terminals: 0"),
        (200, b'{"state": "stopped"}', "ok", "a login starts it"),
        (502, b'{"message": "its holder is missing"}', "fail", "app01: its holder is missing"),
        (502, b"<html>", "fail", "not Stagedoor's web"),
    ],
)
def test_a_shell_that_holds_no_terminals_is_told(
    status: int, body: bytes, level: str, words: str
) -> None:
    _, finding = judge.check_terminals("app01", status, body)
    assert finding.level == level
    assert words in finding.what


def test_the_way_is_read_from_what_ssh_is_told() -> None:
    through = (
        "proxycommand /opt/stagedoor tunnel --gateway https://gw --user 'a b' %h %p\nport 22\n"
    )
    plan = judge_route(parse_ssh_config(through))
    assert (plan.how, plan.tunnel_options) == (
        "connect",
        {"--gateway": "https://gw", "--user": "a b"},
    )
    assert judge_route(parse_ssh_config("hostname app01.ssh\nproxyjump a,gw\n")).address == (
        "gw",
        0,
    )
    direct = judge_route(parse_ssh_config("hostname gw.example\nport 2222\nproxycommand none\n"))
    assert (direct.how, direct.address) == ("direct", ("gw.example", 2222))
