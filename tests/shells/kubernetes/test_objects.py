"""The other objects of a shell."""

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.grant import Admission
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import DEFAULT_SETTINGS, AppSettings
from stagedoor.shells.kubernetes.ports import Cause
from stagedoor.wire.ssh.krl import encode_revoked_serials
from tests.shells.kubernetes.samples import app

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP5T4ESv/+TzuQMYkbFLv5bRKc5vkMjQcmY7hh8wSMli"
CA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
NOW = 1_795_684_000.25
STAGING = Target("app01", "staging")


def test_a_config_map_holds_what_sshd_reads_and_nothing_secret() -> None:
    made = objects.build_config_map(
        app("plain"),
        STAGING,
        DEFAULT_SETTINGS,
        "registry.example/app01:7",
        [Admission("dev", (KEY,)), Admission("ops", (), NOW)],
        [CA],
        until=NOW + 9,
    )
    header = "# Written by Stagedoor whenever the policy changes; edits are lost.\n"
    assert made["data"] == {
        "user_ca.pub": f"{CA}\n",
        "authorized_principals": (
            f'{header}expiry-time="20261126090649Z" dev\nexpiry-time="20261126090640Z" ops\n'
        ),
        "authorized_keys": f'{header}expiry-time="20261126090649Z" {KEY} dev\n',
        "keys_until": "2026-11-26T09:06:49Z",
        "motd": (
            "This is a shell of app01 in staging, beside its serving pods.\n"
            "Image: registry.example/app01:7\n"
            "It stops 30m after the last session; a detached tmux keeps it for 8h. What is not on "
            "a volume is gone then.\n"
        ),
        "settings": "STAGEDOOR_GRACE_S=600\n",
    }
    assert made["metadata"]["name"] == "app01-ssh"
    assert made["metadata"]["ownerReferences"][0]["uid"] == app("plain")["metadata"]["uid"]


def test_a_config_map_lists_the_certificates_of_sign_ins_that_are_over() -> None:
    """For every user CA; the same list is the same bytes."""

    def listed(*admissions: Admission) -> bytes:
        made = objects.build_config_map(
            app("plain"), STAGING, DEFAULT_SETTINGS, "a", admissions, [CA], until=1
        )
        assert made["binaryData"] == objects.build_keys(admissions, 2)["binaryData"]
        (text,) = made["binaryData"].values()
        return b64decode(text)

    dev, ops = Admission("dev", revoked=(9, 7)), Admission("ops", revoked=(8,))
    assert listed(dev, ops) == encode_revoked_serials(b"", [7, 8, 9], 0) == listed(ops, dev)
    assert listed() == encode_revoked_serials(b"", [], 0)


def test_what_an_app_asks_for_stands_in_the_settings() -> None:
    settings = AppSettings(
        warm=True, packages_image="tools:1", directory="/srv", login_name="app", grace_s=9
    )
    assert objects.format_shell_settings(settings) == (
        "STAGEDOOR_GRACE_S=9\n"
        "STAGEDOOR_LOGIN_NAME=app\n"
        "STAGEDOOR_DIRECTORY=/srv\n"
        "STAGEDOOR_PACKAGES=/packages\n"
    )
    assert "It is kept running." in objects.format_motd(Target("app01"), settings, "a:1")


def test_a_secret_holds_the_host_key_and_its_certificate() -> None:
    made = objects.build_secret(
        app("plain"), b"-----BEGIN\n", "ssh-ed25519-cert-v01@openssh.com AAAA"
    )
    assert {name: b64decode(text) for name, text in made["data"].items()} == {
        "ssh_host_ed25519_key": b"-----BEGIN\n",
        "ssh_host_ed25519_key-cert.pub": b"ssh-ed25519-cert-v01@openssh.com AAAA\n",
    }


def test_a_lease_is_renewed_and_read() -> None:
    made = objects.build_lease(app("stateful"), "gateway-1", NOW)
    assert made["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
    assert made["spec"] == {
        "holderIdentity": "gateway-1",
        "renewTime": "2026-11-26T09:06:40.250000Z",
    }
    assert objects.make_renewal("gateway-1", NOW) == {"spec": made["spec"]}
    assert objects.read_renewal(made) == NOW
    for lease in ({}, {"spec": None}, {"spec": {"renewTime": 5}}, {"spec": {"renewTime": "x"}}):
        assert objects.read_renewal(lease) is None
    assert objects.make_stop_request() == {"spec": {"renewTime": None}}


def test_marks_and_stops() -> None:
    assert objects.make_marks_patch("b", None) == {
        "metadata": {"annotations": {"stagedoor.dev/stale": "b", "stagedoor.dev/idle-since": None}}
    }
    stop = objects.make_stop_patch(NOW)
    assert stop["spec"] == {"replicas": 0}
    since = stop["metadata"]["annotations"]["stagedoor.dev/idle-since"]
    assert objects.read_time(since) == int(NOW)
    assert objects.read_time(None) is None


@given(st.text(), st.text())
def test_a_failure_is_read_as_it_was_written(step: str, message: str) -> None:
    cause = Cause(step, message)
    written = objects.make_failure_patch(cause, NOW)
    assert objects.read_failure_cause(written) == Cause(step, message[: objects.MAX_FAILURE_CHARS])


@pytest.mark.parametrize("text", [None, 5, "", "[]", "{", '{"step": 1}', '{"step": "a"}'])
def test_a_failure_that_cannot_be_read_is_none(text: object) -> None:
    lease = {"metadata": {"annotations": {"stagedoor.dev/failure": text}}}
    assert objects.read_failure_cause(lease) is None


def test_a_failure_is_taken_back() -> None:
    patch = objects.make_failure_patch(None, NOW)
    assert patch == {"metadata": {"annotations": {"stagedoor.dev/failure": None}}}
    assert objects.read_failure_cause({"metadata": {}}) is None


@given(st.text(st.sampled_from("a=\n\r\x1b\u2028")), st.text() | st.none())
def test_no_app_smuggles_in_a_setting_or_moves_the_cursor(
    image: str, directory: str | None
) -> None:
    settings = AppSettings(directory=directory)
    text = objects.format_shell_settings(settings)
    for line in text.split("\n")[:-1]:
        assert line.startswith("STAGEDOOR_")
        assert line.isprintable()
    assert objects.format_motd(Target("app01"), settings, image).replace("\n", "").isprintable()
    assert objects.format_motd(Target("app01"), settings, image).count("\n") == 3
