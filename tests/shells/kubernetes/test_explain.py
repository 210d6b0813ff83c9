"""The explanation of a shell before there is one."""

import json

from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.annotations import WrongSettings, read_settings
from stagedoor.shells.kubernetes.derive.explain import explain
from stagedoor.shells.kubernetes.derive.shell import derive
from tests.shells.kubernetes.samples import CLAIMS, DIGESTS, KIT, app, derived, settings

SHOP = Target("shop", "staging")


def test_a_plain_app() -> None:
    of = app("plain")
    text = explain(Target("app01"), of, settings(of), derived(of))
    assert text.to_text() == (
        "app01.ssh: the shell of Deployment app01 in namespace apps\n"
        "  objects           app01-ssh\n"
        "  made from         container web\n"
        "  image             registry.example/app01:7\n"
        "  command           /kit/bin/start\n"
        "  user              as the image says\n"
        "  service account   none\n"
        "  environment       GREETING\n"
        "  other containers  kit\n"
        "  stops             30m after the last session, 8h with a detached tmux\n"
        "  deleted           1d after that\n"
        "  grace             10m for open sessions when it must end\n"
        f"  template          {derived(of).template}\n"
        "\n"
        "Mind:\n"
        "  user: the image decides, and may say root; the app's securityContext.runAsUser or "
        "stagedoor.dev/user decides better\n"
        "\n"
        "Changed from the app:\n"
        "  privileges: sudo and other setuid programs gain none, as the app's container does not "
        "set allowPrivilegeEscalation: true\n"
        "\n"
        "Left out:\n"
        "  ports: a shell serves no traffic\n"
        "  service account default: the shell has no token; the annotation "
        "stagedoor.dev/privileges: service-account brings it"
    )


def test_no_value_of_a_variable_is_shown() -> None:
    of = app("asked")
    text = explain(SHOP, of, settings(of), derived(of, **DIGESTS))
    shown = text.to_text() + json.dumps(text.to_json())
    assert "EXTRA" in shown
    assert "not any more" not in shown
    assert text.facts["stops"] == "never automatically (warm)"
    assert text.facts["environment"].endswith("all of configmap/flags")
    assert "/data" in text.facts["mounts"]
    assert "/kit" not in text.facts["mounts"]


def test_both_forms_say_the_same() -> None:
    of = app("rich")
    text = explain(SHOP, of, settings(of), derived(of))
    said = text.to_json()
    assert said["target"] == "shop.staging.ssh"
    assert said["shell"] == dict(text.facts)
    for note in said["notes"]:
        assert f"  {note['subject']}: {note['why']}" in text.to_text().splitlines()
    assert json.loads(json.dumps(said)) == said


def test_what_is_wrong_is_all_that_is_told() -> None:
    of = app("plain")
    of["metadata"]["annotations"] = {"stagedoor.dev/warm": "x", "stagedoor.dev/grace": "y"}
    wrong = read_settings(of)
    assert isinstance(wrong, WrongSettings)
    text = explain(Target("app01"), of, wrong, None)
    assert text.problems == wrong.problems
    assert text.to_json()["shell"] == {}
    assert text.to_text().splitlines()[1:3] == ["", "No shell can be made:"]


def test_what_derive_finds_wrong_is_told_once() -> None:
    of = app("plain")
    of["metadata"]["annotations"] = {"stagedoor.dev/container": "nope"}
    wrong = derive(of, settings(of), KIT, digests={}, claims=CLAIMS)
    assert isinstance(wrong, WrongSettings)
    assert explain(Target("app01"), of, wrong, wrong).problems == wrong.problems


def test_an_app_that_offers_none_is_told_how() -> None:
    of = app("plain")
    del of["metadata"]["labels"]["stagedoor.dev/shell"]
    text = explain(Target("app01"), of, settings(of), derived(of))
    assert text.problems == (
        "Deployment app01 offers no shell; the label stagedoor.dev/shell: true offers one",
    )
