"""Names that only an administrator gives: those of accounts on servers and of apps."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.name import is_valid_name
from stagedoor.model.target import Target
from stagedoor.oidc.reserved_names import SYSTEM_ACCOUNTS, explain_reserved
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.providers import list_reserved_names

APPS = (Target("app01", None), Target("shop", "staging"), Target("shop", "prod"))


def reserved(name: str, *own: str) -> str:
    return explain_reserved(name, own, APPS) or ""


@pytest.mark.parametrize(
    "name",
    ["root", "daemon", "nobody", "www-data", "postgres", "git", "ubuntu", "debian", "ec2-user", "admin",
     "deploy", "stagedoor", "_apt", "_chrony", "systemd-network", "systemd-timesync"],
)  # fmt: skip
def test_system_accounts_are_reserved(name: str) -> None:
    assert "system account" in reserved(name)


def test_the_accounts_of_this_debian_are_reserved_and_each_entry_could_be_a_name() -> None:
    """Read `base-passwd`'s list, which every Debian has in full."""
    lines = Path("/usr/share/base-passwd/passwd.master").read_text().splitlines()
    assert {line.partition(":")[0] for line in lines} >= {"root", "www-data"}
    assert [name for line in lines if not reserved(name := line.partition(":")[0])] == []
    assert [name for name in SYSTEM_ACCOUNTS if not is_valid_name(name)] == []


@pytest.mark.parametrize(
    "name",
    ["app01", "app01-ssh", "app01.ssh", "shop", "shop-ssh", "shop.ssh", "shop.staging", "shop-ssh.staging",
     "shop.staging.ssh", "shop.prod"],
)  # fmt: skip
def test_whatever_names_an_app_in_a_login_is_reserved(name: str) -> None:
    assert "name of an app" in reserved(name)


@pytest.mark.parametrize(
    "name",
    ["alice", "root2", "root.smith", "root@example.com", "app02", "app01x", "app01.smith", "shop.miller",
     "shop_prod", "0", "systemd", "ubuntu-alice"],
)  # fmt: skip
def test_other_names_are_free(name: str) -> None:
    assert reserved(name) == ""


def test_the_administrators_own_names_are_reserved() -> None:
    assert "sso.reserved_names" in reserved("oncall", "oncall", "boss")
    assert reserved("oncall2", "oncall") == ""


def test_a_name_that_is_listed_for_one_provider_is_free_at_none(tmp_path: Path) -> None:
    one, other = (
        SingleSignOnSettings(
            name=name,
            issuer=f"https://{name}.example",
            client_id="stagedoor",
            client_secret_file=tmp_path / "secret",
            redirect_uri="https://gw.example/sign-in/sso",
            reserved_names=names,
        )
        for name, names in (("one", ("oncall",)), ("other", ("boss",)))
    )
    assert list_reserved_names(Settings(data_dir=tmp_path, sso=(one, other))) == {"oncall", "boss"}


@given(st.from_regex(r"[a-z0-9_][a-z0-9_.@+-]{0,63}", fullmatch=True))
def test_any_name_is_judged(name: str) -> None:
    assert explain_reserved(name, (), APPS) in (
        None,
        "is the name of a system account",
        "is the name of an app",
    )
