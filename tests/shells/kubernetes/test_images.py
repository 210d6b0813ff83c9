"""Which image a shell gets: the one that the app runs, in a form that a registry knows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.shells.kubernetes.derive.images import (
    Reference,
    add_digest,
    find_running_digests,
    parse_reference,
    selects,
)

D = "sha256:" + "0" * 64
E = "sha256:" + "e" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("busybox", Reference("busybox", "", "")),
        ("a/b:7", Reference("a/b", "7", "")),
        ("host:5000/a:7", Reference("host:5000/a", "7", "")),
        ("[::1]:5000/a", Reference("[::1]:5000/a", "", "")),
        (f"a.example/b/c:t@{D}", Reference("a.example/b/c", "t", D)),
        (f"a@{D}", Reference("a", "", D)),
        ("a__b/c-d.e", Reference("a__b/c-d.e", "", "")),
        ("", None),
        ("A", None),
        ("a:", None),
        ("a/", None),
        ("a@sha256:0", None),
        ("a b", None),
        ("a\n", None),
        ("https://a/b", None),
        ("a" * 513, None),
    ],
)
def test_references(text: str, expected: Reference | None) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("a/b", "docker.io/a/b"),
        ("docker.io/busybox", "docker.io/library/busybox"),
        ("index.docker.io/a/b", "docker.io/a/b"),
        ("localhost/b", "localhost/b"),
        ("host:5000/b", "host:5000/b"),
        ("a.example/b", "a.example/b"),
    ],
)
def test_what_a_name_implies(name: str, repository: str) -> None:
    reference = parse_reference(name)
    assert reference is not None
    assert reference.repository == repository


@pytest.mark.parametrize(
    ("image", "image_id", "expected"),
    [
        ("a.example/b:7", f"a.example/b@{D}", f"a.example/b@{D}"),
        ("a.example/b:7", f"docker-pullable://a.example/b@{D}", f"a.example/b@{D}"),
        ("busybox", f"docker.io/library/busybox@{D}", f"busybox@{D}"),
        # The id of an image on one node: no registry knows it.
        ("a.example/b:7", D, None),
        ("a.example/b:7", f"docker://{D}", None),
        ("a.example/b:7", "", None),
        # Another repository has the same image; the app's pull secret may not be for that one.
        ("a.example/b:7", f"other.example/b@{D}", None),
        # Exact already.
        (f"a.example/b@{D}", f"a.example/b@{E}", None),
        ("not an image", f"a.example/b@{D}", None),
    ],
)
def test_the_running_image_in_a_form_that_can_be_pulled(
    image: str, image_id: str, expected: str | None
) -> None:
    assert add_digest(image, image_id) == expected


@given(st.text(), st.text())
def test_what_is_pinned_is_a_reference_with_a_digest(image: str, image_id: str) -> None:
    pinned_image = add_digest(image, image_id)
    if pinned_image is not None:
        parsed = parse_reference(pinned_image)
        assert parsed is not None
        assert parsed.digest


APP = {
    "spec": {
        "selector": {"matchLabels": {"app": "app01"}},
        "template": {
            "spec": {
                "initContainers": [{"name": "migrate", "image": "m:1"}],
                "containers": [{"name": "web", "image": "b:7"}],
            }
        },
    }
}


def pod(created: str, digest: str, *, image: str = "b:7", **more: Any) -> dict[str, Any]:
    metadata = {"labels": {"app": "app01"}, "creationTimestamp": created, **more}
    return {
        "metadata": metadata,
        "spec": {
            "initContainers": [{"name": "migrate", "image": "m:1"}],
            "containers": [{"name": "web", "image": image}],
        },
        "status": {
            "initContainerStatuses": [
                {"name": "migrate", "imageID": f"docker.io/library/m@{digest}"}
            ],
            "containerStatuses": [{"name": "web", "imageID": f"docker.io/library/b@{digest}"}],
        },
    }


def test_the_youngest_pod_with_the_images_of_the_template_counts() -> None:
    old, young = pod("2026-01-01T00:00:00Z", D), pod("2026-01-02T00:00:00Z", E)
    digests = {"web": f"b@{E}", "migrate": f"m@{E}"}
    assert find_running_digests(APP, [old, young]) == digests
    assert find_running_digests(APP, [young, old]) == digests


def test_a_pod_that_ends_or_runs_another_image_does_not_count() -> None:
    ends = pod("2026-01-03T00:00:00Z", E, deletionTimestamp="2026-01-03T00:00:00Z")
    before = pod("2026-01-03T00:00:00Z", E, image="b:6")
    good = pod("2026-01-01T00:00:00Z", D)
    digests = find_running_digests(APP, [ends, before, good])
    assert digests["web"] == f"b@{D}"
    assert find_running_digests(APP, []) == {}


def test_a_selector_that_selects_nothing_gives_nothing() -> None:
    app = {"spec": {**APP["spec"], "selector": {}}}
    assert find_running_digests(app, [pod("2026-01-01T00:00:00Z", D)]) == {}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "NotIn", "values": ["1"]}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "b", "operator": "Exists"}, False),
        ({"key": "b", "operator": "DoesNotExist"}, True),
        ({"key": "a", "operator": "Gt", "values": ["0"]}, False),
    ],
)
def test_selectors(rule: dict[str, Any], holds: bool) -> None:
    assert selects({"matchExpressions": [rule]}, {"a": "1"}) is holds
    assert not selects({"matchLabels": {"a": "2"}, "matchExpressions": [rule]}, {"a": "1"})
