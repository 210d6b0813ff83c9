"""What is written down of an app for the fence: every Secret that it has, whichever way it has it."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.shells.kubernetes.facts import facts_of, without_tag
from tests.chart.test_fences_admission import POD, app


def lines(pod: dict[str, object], **annotations: str) -> set[str]:
    return set(facts_of(app("shop", copy.deepcopy(pod), **annotations)).split("\n"))


def test_everything_that_an_app_has_is_there() -> None:
    assert lines(POD) == {
        "kind=Deployment",
        "account=shop",
        "token=",
        "runtime=",
        "pull=shop-pull",
        "secret=shop-key",
        "secret=shop-env",
        "secret=shop-file",
        "secret=shop-part",
        "configmap=shop-map",
        "configmap=shop-env",
        "configmap=shop-part",
        "audience=shop",
        "csi=vault.example",
        "csi=vault.example role=shop",
        "csi=vault.example secret shop-vault",
        "capability=NET_RAW",
        "image=registry.example:5000/team/shop",
        "image=docker.io/registry.example:5000/team/shop",
        "image=docker.io/library/registry.example:5000/team/shop",
    }


def test_annotations_name_images() -> None:
    found = lines({"containers": [{"name": "web"}]}, image="x/y:1", packages_image="z")
    assert {"named=x/y:1", "named=z"} <= found


def test_a_value_cannot_bring_a_line_of_its_own() -> None:
    pod = {"containers": [{"name": "web", "image": "x\nsecret=other-secret"}]}
    assert "secret=other-secret" not in lines(pod)


@given(st.from_regex(r"([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9-]+(/[a-z0-9-]+)*", fullmatch=True))
def test_tag_and_digest_are_taken_off(name: str) -> None:
    assert without_tag(name) == name
    assert without_tag(f"{name}:v1.2_3-x") == name
    assert without_tag(f"{name}@sha256:{'0' * 64}") == name
    assert without_tag(f"{name}:v1@sha256:{'0' * 64}") == name
