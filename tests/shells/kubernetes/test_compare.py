"""Comparison of a Deployment with the one that was derived: every field counts, whatever it is called."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.shells.kubernetes.derive.compare import (
    MAX_DIFFERENCES,
    find_differences,
    read_spec_hash,
)
from tests.shells.kubernetes.samples import HERE
from tests.shells.kubernetes.test_derive_golden import CASES

Path = tuple[str | int, ...]


def golden(case: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((HERE / "golden" / f"{case}.yaml").read_text())
    shell: dict[str, Any] = document["deployment"]
    return shell


def leaves(found: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of everything that is in it, structs and lists too."""
    if path:
        yield path
    if isinstance(found, dict):
        for field, value in found.items():
            yield from leaves(value, (*path, field))
    elif isinstance(found, list):
        for number, value in enumerate(found):
            yield from leaves(value, (*path, number))


def at(node: Any, path: Path) -> Any:
    for step in path:
        node = node[step]
    return node


@pytest.mark.parametrize("case", CASES)
def test_a_shell_is_what_it_is_and_any_part_that_goes_or_changes_is_seen(case: str) -> None:
    shell = golden(case)
    assert find_differences(shell, shell) == ()
    bent = copy.deepcopy(shell)
    for path in leaves(shell["spec"]):
        parent, last = at(bent["spec"], path[:-1]), path[-1]
        whole = copy.copy(parent)
        parent[last] = "bent"
        assert find_differences(shell, bent), path
        del parent[last]
        assert find_differences(shell, bent) or whole[last] in ("", None, [], {}), path
        parent.clear()
        (parent.update if isinstance(parent, dict) else parent.extend)(whole)


@pytest.mark.parametrize("case", CASES)
def test_any_field_that_comes_is_seen(case: str) -> None:
    """As one of a future Kubernetes would."""
    shell = golden(case)
    bent = copy.deepcopy(shell)
    for path in [(), *leaves(shell["spec"])]:
        there = at(bent["spec"], path)
        for value in ("x", 0, False, [], {}, {"a": "b"}):
            if isinstance(there, dict):
                there["ofTheFuture"] = value
                assert find_differences(shell, bent), (path, value)
                del there["ofTheFuture"]
            elif isinstance(there, list):
                there.append(value)
                assert find_differences(shell, bent), (path, value)
                there.pop()


@pytest.mark.parametrize(
    ("desired", "actual"),
    [
        ({"a": 0}, {}),
        ({"a": False}, {}),
        ({}, {"a": 0}),
        ({"runAsUser": 1}, {"runAsUser": True}),
        ({"runAsUser": 0}, {"runAsUser": False}),
        ({"value": "1000m"}, {"value": "1"}),
        (
            {"env": [{"name": "limits", "value": "1000m"}]},
            {"env": [{"name": "limits", "value": "1"}]},
        ),
        ({}, {"dnsPolicy": "None"}),
        ({}, {"imagePullPolicy": "Never"}),
        ({"imagePullPolicy": "Always"}, {"imagePullPolicy": "IfNotPresent"}),
        ({"serviceAccountName": "a"}, {"serviceAccountName": "a", "serviceAccount": "b"}),
        ({}, {"serviceAccount": "b"}),
        ({}, {"securityContext": {"privileged": True}}),
        ({}, {"resources": {"limits": {"x.example/gpu": "1"}}}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": {}}, {"a": []}),
    ],
)
def test_what_says_something_else_is_a_difference(desired: Any, actual: Any) -> None:
    assert find_differences(deployment(desired), deployment(actual))


@pytest.mark.parametrize(
    ("desired", "actual"),
    [
        ({"value": ""}, {}),
        ({"items": []}, {}),
        ({}, {"creationTimestamp": None}),
        ({"serviceAccountName": "a"}, {"serviceAccountName": "a", "serviceAccount": "a"}),
        ({}, {"terminationMessagePath": "/dev/termination-log", "resources": {}}),
        ({}, {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}),
        (
            {"resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}},
            {"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}},
        ),
        ({"emptyDir": {"sizeLimit": "1024Ki"}}, {"emptyDir": {"sizeLimit": "1Mi"}}),
    ],
)
def test_what_the_api_server_fills_in_or_spells_otherwise_is_none(
    desired: Any, actual: Any
) -> None:
    assert find_differences(deployment(desired), deployment(actual)) == ()


def deployment(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": spec}


def test_owners_and_finalizers_are_compared_and_other_metadata_is_not() -> None:
    owner = {"kind": "Deployment", "name": "app01", "uid": "1"}
    ours = deployment({}, ownerReferences=[owner])
    assert find_differences(ours, deployment({}, ownerReferences=[owner], generation=7)) == ()
    for other in ([], [owner, owner], [{**owner, "uid": "2"}], [{**owner, "controller": True}]):
        assert find_differences(ours, deployment({}, ownerReferences=other))
    finalizers = deployment({}, ownerReferences=[owner], finalizers=["x.example/y"])
    assert find_differences(ours, finalizers) == ("metadata.finalizers",)


def test_a_roll_back_to_an_older_template_is_a_difference() -> None:
    marks = {"deprecated.deployment.rollback.to": "1"}
    assert find_differences(deployment({}), deployment({}, annotations=marks))


def test_a_few_places_are_named_and_no_values() -> None:
    env = [{"name": f"V{n}", "value": "secret"} for n in range(9)]
    bent = [{**variable, "value": "other"} for variable in env]
    paths = find_differences(deployment({"env": env}), deployment({"env": bent}))
    assert len(paths) == MAX_DIFFERENCES
    assert paths[0] == "spec.env[V0].value"
    assert "secret" not in str(paths)
    assert "other" not in str(paths)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON), st.integers(0, 9))
def test_the_hash_is_of_the_spec_without_the_number_of_replicas(
    spec: dict[str, Any], replicas: int
) -> None:
    one, other = deployment(spec), deployment({**spec, "replicas": replicas}, generation=2)
    assert read_spec_hash(one) == read_spec_hash(other)
    assert read_spec_hash(one) != read_spec_hash(deployment({**spec, "more": 1}))
    assert find_differences(one, other) == ()
