"""Settings for every shell's pod pass the installation's own fence, and nothing else does.

An API server of its own for the values: it takes some 10 s to start, and no other has these.
"""

from collections.abc import Iterator

import pytest

from stagedoor.admin.kubernetes import read_kit
from stagedoor.shells.kubernetes.derive.kit import Kit
from tests.chart.conftest import Fenced, installed
from tests.chart.shops import app, denied, enter, gateway
from tests.chart.test_render import settings_of
from tests.cluster.asking import Manifest
from tests.kube.api.lone import LoneApi

OWN: Manifest = {
    "controller": {
        "kit_resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "pod_labels": {"team": "platform"},
        "app_labels": ["cost"],
        "pod_annotations": {"sidecar.istio.io/inject": "false"},
        "priority_class": "shells",
    }
}


@pytest.fixture(scope="module")
def own(lone: LoneApi, fenced: Fenced) -> Iterator[tuple[Fenced, Kit]]:
    with installed(lone, fenced, settings=OWN) as another:
        settings = settings_of(another.objects, "stagedoor-gateway")
        kit = read_kit(settings)
        assert kit is not None
        assert read_kit(settings_of(another.objects, "stagedoor-controller")) == kit
        with gateway(lone, another, given=kit):
            yield another, kit


def test_a_shell_has_what_the_installation_gives_it(own: tuple[Fenced, Kit]) -> None:
    fenced, kit = own
    of = app("labelled")
    of["metadata"]["labels"]["cost"] = "42"
    shop = enter(fenced, of, given=kit)
    template = shop.shell["spec"]["template"]
    assert template["metadata"]["labels"].items() >= {"team": "platform", "cost": "42"}.items()
    assert template["spec"]["priorityClassName"] == "shells"
    started = shop.started()
    assert started.ok, started.message


@pytest.mark.parametrize("part", ["label", "annotation", "class"])
def test_other_values_of_the_same_are_refused(own: tuple[Fenced, Kit], part: str) -> None:
    fenced, kit = own
    shop = enter(fenced, app(f"bent-{part}"), given=kit)
    bent = shop.shell
    template = bent["spec"]["template"]
    if part == "label":
        template["metadata"]["labels"]["team"] = "other"
    elif part == "annotation":
        template["metadata"]["annotations"]["sidecar.istio.io/inject"] = "true"
    else:
        template["spec"]["priorityClassName"] = "system-node-critical"
    denied(shop.started(bent))
