"""`stagedoor app` and `stagedoor controller` where there is no cluster, or no reason to have one."""

from pathlib import Path

import pytest

from stagedoor.model.errors import NotFoundError, RefusedError, SettingsError, StagedoorError
from tests.cli.conftest import Desk

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
"""
SHELLS = '[[shells.static]]\napp = "app02"\nhost = "192.0.2.1"\n[[shells.local]]\napp = "app01"\n'


def settings(desk: Desk, *tables: str) -> None:
    with desk.settings_file.open("a") as file:
        file.write("\n".join(tables) + "\n")


def cluster(desk: Desk, folder: Path) -> str:
    """`[kubernetes]` for an API that is not there."""
    file = folder / "kubeconfig"
    file.write_text(KUBECONFIG)
    file.chmod(0o600)
    return f'[kubernetes]\nnamespaces = {{ "" = "apps" }}\nkubeconfig = "{file}"\n'


def refused(desk: Desk, *argv: str) -> StagedoorError:
    error = desk.run(*argv).exception
    assert isinstance(error, StagedoorError), error
    return error


def test_the_apps_of_the_settings_are_listed_without_a_cluster(desk: Desk) -> None:
    settings(desk, SHELLS)
    rows = desk.json("app", "list")
    assert [(row["target"], row["kind"], row["state"], row["address"]) for row in rows] == [
        ("app01.ssh", "local", "absent", ""),
        ("app02.ssh", "static", "", "192.0.2.1:22"),
    ]
    assert "app01.ssh" in desk.out("app", "list")


@pytest.mark.parametrize("command", ["explain", "start", "stop", "logs"])
def test_what_stands_in_the_settings_is_not_started_or_stopped_by_hand(
    desk: Desk, command: str
) -> None:
    settings(desk, SHELLS)
    error = refused(desk, "app", command, "app01")
    assert isinstance(error, RefusedError)
    assert "app01.ssh is an entry of the settings" in str(error)
    assert isinstance(refused(desk, "app", command, "app03"), NotFoundError)
    assert "not an app's name" in str(refused(desk, "app", command, "App 01"))


def test_a_cluster_that_does_not_answer_is_told_with_its_address(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.admin.apps.SYNC_S", 3.0)
    settings(desk, cluster(desk, tmp_path))
    error = refused(desk, "app", "list")
    assert "the cluster cannot be queried" in str(error)
    assert "127.0.0.1:1" in str(error)


def test_a_cluster_that_is_not_there_completes_nothing_and_says_nothing(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.cli.complete.COMPLETE_S", 0.2)
    settings(desk, SHELLS, cluster(desk, tmp_path))
    monkeypatch.setenv("COMP_WORDS", f"stagedoor --config {desk.settings_file} app start app")
    monkeypatch.setenv("COMP_CWORD", "5")
    monkeypatch.setenv("_STAGEDOOR_COMPLETE", "bash_complete")
    from click.shell_completion import BashComplete

    from stagedoor.cli.app import stagedoor

    completed = BashComplete(stagedoor, {}, "stagedoor", "_STAGEDOOR_COMPLETE").complete()
    assert [line.split(",")[1] for line in completed.splitlines()] == ["app01", "app02"]


def test_a_gateway_that_judges_shells_needs_what_the_controller_derives_them_by(
    desk: Desk, tmp_path: Path
) -> None:
    judging = cluster(desk, tmp_path).replace("[kubernetes]\n", "[kubernetes]\nregister = true\n")
    settings(desk, judging)
    error = refused(desk, "serve")
    assert isinstance(error, SettingsError)
    assert "kubernetes.register needs controller.kit_image" in str(error)


def test_a_controller_says_what_it_lacks(desk: Desk, tmp_path: Path) -> None:
    error = refused(desk, "controller")
    assert isinstance(error, SettingsError)
    assert "[kubernetes] namespaces" in str(error)
    settings(desk, cluster(desk, tmp_path))
    assert "[controller] kit_image" in str(refused(desk, "controller"))
    settings(desk, '[controller]\nkit_image = "kit:1"')
    error = refused(desk, "controller")
    assert "needs the installation's user CA" in str(error)
    # And has made none of its own.
    assert not (desk.data_dir / "keys").exists()


def test_a_kubeconfig_that_is_not_there_is_named(desk: Desk) -> None:
    settings(desk, '[kubernetes]\nnamespaces = { "" = "apps" }\nkubeconfig = "/no/such/file"\n')
    for command in (("app", "list"), ("controller",), ("serve",)):
        error = refused(desk, *command)
        assert isinstance(error, SettingsError)
        assert "/no/such/file" in str(error)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('namespaces = { "ssh" = "apps" }', "not a valid name for an environment"),
        ('namespaces = { "" = "Apps" }', "not a valid name for a namespace"),
        ('namespaces = { "" = "apps", staging = "apps" }', "the same namespace"),
        ('authorise = "create pods"', "not a resource"),
        ('namespace = "apps"', "there is no setting"),
    ],
)
def test_wrong_settings_are_refused_by_name(desk: Desk, table: str, message: str) -> None:
    settings(desk, f"[kubernetes]\n{table}")
    assert message in str(refused(desk, "app", "list"))
