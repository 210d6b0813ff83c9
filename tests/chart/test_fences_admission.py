"""The ValidatingAdmissionPolicy *names* against a stolen token: each attack as it would be tried.

The legitimate objects are what `derive` and `objects` make, so that the fence and the controller
cannot drift apart unseen.
"""

import copy
from collections.abc import Callable
from functools import partial

import pytest

from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, read_settings
from tests.chart.conftest import Fenced, installed
from tests.chart.shops import (
    DEFAULTS,
    DIGEST,
    IMAGE,
    Shop,
    app,
    denied,
    enter,
    eventually,
    foreign,
    numbers,
)
from tests.cluster.asking import Manifest, item
from tests.kube.api.lone import LoneApi
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server


@pytest.fixture
def shop(fenced: Fenced) -> Shop:
    return enter(fenced, app(f"shop{next(numbers)}"))


def test_everything_that_a_shell_consists_of_passes(shop: Shop) -> None:
    controller, gateway = shop.fenced.controller, shop.fenced.gateway
    lease = dict(objects.build_lease(shop.app, "gateway-0", 1.0))
    made = gateway.create(lease)
    assert made.ok, made.message
    assert gateway.merge(lease, dict(objects.make_renewal("gateway-1", 2.0))).ok
    assert controller.merge(lease, dict(objects.make_failure_patch(None, 3.0))).ok
    target = Target(shop.name)
    settings = read_settings(shop.app, DEFAULTS)
    assert isinstance(settings, AppSettings)
    config_map = objects.build_config_map(
        shop.app, target, settings, DIGEST, (), ("ssh-ed25519 AAAA",), until=0
    )
    whole = [
        dict(shop.derived.service),
        dict(config_map),
        dict(objects.build_secret(shop.app, b"key", "certificate")),
        shop.shell,
    ]
    for manifest in whole:
        made = eventually(shop.fenced, manifest)
        assert made.ok, made.message
        # The same again, as a reconcile does.
        assert controller.apply(manifest).ok
    assert controller.merge(shop.shell, dict(objects.make_stop_patch(4.0))).ok
    assert controller.merge(shop.shell, dict(objects.make_marks_patch("hash", 5.0))).ok
    for manifest in [*reversed(whole), lease]:
        gone = controller.delete(manifest)
        assert gone.ok, gone.message


# --- attacks on what it is called and whose it is

MetaBend = Callable[[Manifest, Shop], object]


def rename(manifest: Manifest, _: Shop) -> None:
    manifest["metadata"]["name"] = "innocent"


def other_app(manifest: Manifest, shop: Shop) -> None:
    manifest["metadata"]["labels"]["stagedoor.dev/shell-of"] = "other"


def unlabelled(manifest: Manifest, _: Shop) -> None:
    del manifest["metadata"]["labels"]


def unmanaged(manifest: Manifest, _: Shop) -> None:
    del manifest["metadata"]["labels"]["app.kubernetes.io/managed-by"]


def no_owner(manifest: Manifest, _: Shop) -> None:
    manifest["metadata"]["ownerReferences"] = []


def other_owner(manifest: Manifest, _: Shop) -> None:
    manifest["metadata"]["ownerReferences"][0]["name"] = "other"


def owner_of_another_kind(manifest: Manifest, _: Shop) -> None:
    manifest["metadata"]["ownerReferences"][0].update(apiVersion="v1", kind="ConfigMap")


def two_owners(manifest: Manifest, _: Shop) -> None:
    owner = manifest["metadata"]["ownerReferences"][0]
    manifest["metadata"]["ownerReferences"] = [owner, {**owner, "uid": "other"}]


def blocking_owner(manifest: Manifest, _: Shop) -> None:
    """It would keep an app that is deleted in the foreground."""
    manifest["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = True


NAMES: list[tuple[MetaBend, str]] = [
    (rename, "is called"),
    (other_app, "is called"),
    (unlabelled, "only what belongs to a shell"),
    (unmanaged, "only what belongs to a shell"),
    (no_owner, "the owner of"),
    (other_owner, "the owner of"),
    (owner_of_another_kind, "the owner of"),
    (two_owners, "the owner of"),
    (blocking_owner, "the owner of"),
]


def of_kind(shop: Shop, kind: str) -> Manifest:
    """One of the shell's objects, to be bent."""
    return copy.deepcopy(
        {
            "Deployment": shop.shell,
            "Service": dict(shop.derived.service),
            "ConfigMap": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": shop.metadata()},
            "Secret": dict(objects.build_secret(shop.app, b"key", "certificate")),
            "Lease": dict(objects.build_lease(shop.app, "x", 1.0)),
        }[kind]
    )


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ConfigMap", "Secret", "Lease"])
@pytest.mark.parametrize(
    "marks",
    [
        {"finalizers": ["example.com/keep"]},
        {"annotations": {"replicator.v1.mittwald.de/replicate-from": "other/other-secret"}},
        {"annotations": {"deprecated.deployment.rollback.to": "1"}},
        {"annotations": {"external-dns.alpha.kubernetes.io/hostname": "www.example"}},
        {"labels": {"grafana_datasource": "1"}},
    ],
    ids=["finalizer", "copied", "rollback", "dns", "label"],
)
def test_nothing_is_given_a_mark_that_other_programs_act_on(
    shop: Shop, marks: Manifest, kind: str
) -> None:
    controller, manifest = shop.fenced.controller, of_kind(shop, kind)
    made = eventually(shop.fenced, manifest)
    assert made.ok, made.message
    # Those that another client gave stay, and hinder no request.
    labels = {"labels": {"team": "shop"}, "annotations": {"x.example/y": "z"}}
    assert shop.fenced.admin.merge(manifest, {"metadata": labels}).ok
    assert controller.merge(manifest, {"metadata": {"annotations": {"stagedoor.dev/x": "y"}}}).ok
    denied(controller.merge(manifest, {"metadata": {"labels": {"team": "other"}}}), "its own")
    denied(controller.merge(manifest, {"metadata": marks}), "its own")
    assert controller.delete(manifest).ok
    for field, value in marks.items():
        before = manifest["metadata"].get(field)
        both = {**before, **value} if isinstance(before, dict) else value
        manifest["metadata"][field] = both
    denied(controller.create(manifest), "its own")


def test_marks_that_the_cluster_s_own_webhooks_give_are_allowed_by_name(
    lone: LoneApi, fenced: Fenced
) -> None:
    with installed(lone, fenced, fences={"allowedMetadata": ["policies.example/"]}) as another:
        shop = enter(another, app(f"shop{next(numbers)}"))
        manifest = of_kind(shop, "Service")
        manifest["metadata"]["annotations"] = {"policies.example/checked": "yes"}
        manifest["metadata"]["labels"]["policies.example/tier"] = "shell"
        made = eventually(another, manifest)
        assert made.ok, made.message
        denied(another.controller.merge(manifest, {"metadata": {"labels": {"x": "y"}}}), "its own")


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ConfigMap", "Secret", "Lease"])
@pytest.mark.parametrize(("bend", "said"), NAMES, ids=[case[0].__name__ for case in NAMES])
def test_what_is_not_named_labelled_and_owned_as_a_shell_s_is_refused(
    shop: Shop, bend: MetaBend, said: str, kind: str
) -> None:
    manifest = of_kind(shop, kind)
    bend(manifest, shop)
    # Of several policies that refuse, any may be the one to speak; for a Deployment there are more.
    words = () if kind == "Deployment" else (said,)
    denied(shop.fenced.controller.create(manifest), *words)
    if kind == "Lease":
        denied(shop.fenced.gateway.create(manifest), said)


# --- ghosts


def test_the_controller_cannot_write_the_register(shop: Shop) -> None:
    where = {"name": "stagedoor-apps", "namespace": shop.fenced.apps}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where}
    denied(
        shop.fenced.controller.merge(
            config_map, {"data": {"ghost": "kind=Deployment\nsecret=other-secret"}}
        )
    )
    denied(shop.fenced.controller.delete(config_map))


# --- what others made


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap", "Service"])
@pytest.mark.parametrize("suffix", ["", "-ssh"])
def test_what_others_made_is_neither_read_by_a_patch_nor_taken_over_nor_deleted(
    shop: Shop, kind: str, suffix: str
) -> None:
    controller = shop.fenced.controller
    name = f"{shop.name if suffix else 'loot' + shop.name}{suffix}"
    theirs = foreign(kind, shop.fenced.apps, name)
    assert shop.fenced.admin.create(theirs).ok
    # An empty patch answers with the whole object.
    answer = controller.merge(theirs, {"metadata": {}})
    denied(answer)
    assert "hush" not in str(answer.body)
    claimed = {**theirs, "metadata": shop.metadata() | {"name": name}}
    denied(controller.apply(claimed))
    denied(controller.delete(theirs))


def test_the_app_itself_is_neither_changed_nor_deleted(shop: Shop) -> None:
    controller = shop.fenced.controller
    denied(controller.merge(shop.app, {"metadata": {"annotations": {"x": "y"}}}))
    labels = {"stagedoor.dev/shell-of": shop.name, "app.kubernetes.io/managed-by": "stagedoor"}
    denied(controller.merge(shop.app, {"metadata": {"labels": labels}}))
    denied(controller.delete(shop.app))


@pytest.mark.parametrize("how", [{"propagationPolicy": "Orphan"}, {"orphanDependents": True}])
def test_a_shell_s_pod_is_not_left_behind_without_its_deployment(shop: Shop, how: Manifest) -> None:
    made = eventually(shop.fenced, shop.shell)
    assert made.ok, made.message
    options = {"apiVersion": "v1", "kind": "DeleteOptions", **how}
    denied(shop.fenced.controller.request("DELETE", item(shop.shell), options), "go its pods")
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    assert shop.fenced.controller.request("DELETE", item(shop.shell), options).ok


def test_a_secret_that_would_be_filled_with_a_token_is_refused(shop: Shop) -> None:
    secret = dict(objects.build_secret(shop.app, b"key", "certificate"))
    marks = {"kubernetes.io/service-account.name": "default"}
    token = {
        **secret,
        "type": "kubernetes.io/service-account-token",
        "metadata": {**shop.metadata(), "annotations": marks},
    }
    denied(shop.fenced.controller.create(token), "Opaque")


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_who_may_log_in_cannot_be_made_unchangeable(shop: Shop, kind: str) -> None:
    manifest = of_kind(shop, kind)
    denied(shop.fenced.controller.create({**manifest, "immutable": True}), "can be changed")
    made = eventually(shop.fenced, manifest)
    assert made.ok, made.message
    denied(shop.fenced.controller.merge(manifest, {"immutable": True}), "can be changed")


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {"app": "shop"}},
        {"selector": {}},
        {"type": "LoadBalancer", "clusterIP": None},
        {"type": "NodePort", "clusterIP": None},
        {"type": "ExternalName", "externalName": "evil.example", "clusterIP": None},
        {"externalIPs": ["192.0.2.1"]},
    ],
)
def test_a_service_that_selects_others_or_opens_a_door_is_refused(
    shop: Shop, spec: Manifest
) -> None:
    service = copy.deepcopy(dict(shop.derived.service))
    service["spec"] = {
        key: value for key, value in {**service["spec"], **spec}.items() if value is not None
    }
    denied(shop.fenced.controller.create(service), "Service")


# --- pods, and everything else


def pod_of(shop: Shop, *, ours: bool) -> Manifest:
    """As the ReplicaSet controller would make it."""
    labels = {"stagedoor.dev/shell-of": shop.name, "app.kubernetes.io/managed-by": "stagedoor"}
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod{next(numbers)}",
            "namespace": shop.fenced.apps,
            "labels": labels if ours else {"app": shop.name},
        },
        "spec": {"containers": [{"name": "x", "image": IMAGE}]},
    }
    assert shop.fenced.admin.create(pod).ok
    return pod


def test_of_a_shell_s_pod_annotations_may_be_changed_and_nothing_else(shop: Shop) -> None:
    controller, pod = shop.fenced.controller, pod_of(shop, ours=True)
    assert controller.merge(pod, {"metadata": {"annotations": {"stagedoor.dev/policy": "1"}}}).ok
    bent = [{"name": "x", "image": "evil.example/x:1"}]
    denied(controller.merge(pod, {"spec": {"containers": bent}}), "only annotations")
    denied(controller.merge(pod, {"metadata": {"labels": {"app": "shop"}}}), "only annotations")


def test_a_pod_of_the_app_is_not_touched(shop: Shop) -> None:
    controller, pod = shop.fenced.controller, pod_of(shop, ours=False)
    patch = {"metadata": {"annotations": {"stagedoor.dev/policy": "1"}}}
    denied(controller.merge(pod, patch), "only what belongs to a shell")
    assert controller.request("DELETE", item(pod)).status == 403


def test_a_shell_s_pod_is_not_deleted_by_itself(shop: Shop) -> None:
    """It goes with its Deployment, at the grace period that the app's author chose."""
    answer = shop.fenced.controller.request("DELETE", item(pod_of(shop, ours=True)))
    assert answer.status == 403


def test_rights_that_somebody_adds_do_not_open_the_fence(fenced: Fenced) -> None:
    """RBAC that was widened by mistake: the policy still says what our accounts write."""
    subjects = [
        {"kind": "ServiceAccount", "name": f"stagedoor-{name}", "namespace": fenced.own}
        for name in ("gateway", "controller")
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "mistake", "namespace": fenced.staging},
        "roleRef": role,
        "subjects": subjects,
    }
    assert fenced.admin.create(binding).ok
    try:
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "mine", "namespace": fenced.staging},
        }
        for asker in (fenced.gateway, fenced.controller):
            # RBAC too follows by a watch.
            wait_until(partial(asker.may, fenced.staging, "create", "serviceaccounts"))
            denied(asker.create(account), "nothing of that kind")
            asked = asker.request(
                "POST",
                f"/api/v1/namespaces/{fenced.staging}/serviceaccounts/default/token",
                {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {"audiences": []},
                },
            )
            assert asked.status in (403, 404), asked.message
        mine = enter(fenced, app(f"shop{next(numbers)}"), fenced.staging)
        path, name = f"/apis/apps/v1/namespaces/{fenced.staging}/deployments", mine.name
        shell = foreign("ConfigMap", fenced.staging, "x")
        denied(fenced.gateway.create(shell), "nothing of that kind")
        denied(fenced.gateway.request("DELETE", f"{path}/{name}"), "nothing of that kind")
    finally:
        assert fenced.admin.delete(binding).ok
