"""A client of an API server as one user: one request after the other, whatever it answers."""

import http.client
import json
import ssl
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stagedoor.kube.paths import RESOURCES
from stagedoor.model.cluster import Kind
from stagedoor.net.tls import make_client_context
from tests.waiting import wait_until

Manifest = dict[str, Any]

PLACES = {
    str(kind): (place.group, place.version, place.plural, place.namespaced)
    for kind, place in RESOURCES.items()
} | {
    "Role": ("rbac.authorization.k8s.io", "v1", "roles", True),
    "RoleBinding": ("rbac.authorization.k8s.io", "v1", "rolebindings", True),
    "ClusterRole": ("rbac.authorization.k8s.io", "v1", "clusterroles", False),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", False),
    "ServiceAccount": ("", "v1", "serviceaccounts", True),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies", True),
    "ResourceQuota": ("", "v1", "resourcequotas", True),
    "PersistentVolume": ("", "v1", "persistentvolumes", False),
    "PodDisruptionBudget": ("policy", "v1", "poddisruptionbudgets", True),
    "ValidatingAdmissionPolicy": (
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicies",
        False,
    ),
    "ValidatingAdmissionPolicyBinding": (
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        False,
    ),
}
"""Where kinds are: group, version, plural, whether in a namespace."""
GROUPS = {
    "deployments": "apps/v1",
    "replicasets": "apps/v1",
    "jobs": "batch/v1",
    "leases": "coordination.k8s.io/v1",
    "endpointslices": "discovery.k8s.io/v1",
    "events": "events.k8s.io/v1",
    "networkpolicies": "networking.k8s.io/v1",
    "rolebindings": "rbac.authorization.k8s.io/v1",
}
"""Of kinds that are not in the core group, by plural: group and version."""


@dataclass(frozen=True)
class Answer:
    """`status` is HTTP's; `body` the object, or the Status that says why not."""

    status: int
    body: Manifest = field(repr=False)

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


@dataclass(frozen=True)
class Asker:
    """A user with a token. `ca` is the file of the API server's CA."""

    url: str
    ca: str
    token: str = field(repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def request(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        content: str = "application/json",
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content}
        asked = (method, path, None if body is None else json.dumps(body).encode(), headers)
        with self._turn:
            try:
                return self._ask(*asked)
            except (ConnectionError, ssl.SSLEOFError, http.client.BadStatusLine):
                # The server has closed a line on which nothing was asked for long.
                return self._ask(*asked)

    @cached_property
    def _line(self) -> http.client.HTTPSConnection:
        """One for all requests: a TLS handshake costs as much as most of them."""
        context = make_client_context(self.ca)
        line = http.client.HTTPSConnection(
            self.url.removeprefix("https://"), timeout=30, context=context
        )
        weakref.finalize(self, line.close)
        return line

    def _ask(self, *asked: Any) -> Answer:
        try:
            self._line.request(*asked)
            answer = self._line.getresponse()
            return Answer(answer.status, json.loads(answer.read()))
        except BaseException:
            self._line.close()  # half a conversation is no use to the next; it opens another
            raise

    def create(self, manifest: Manifest) -> Answer:
        return self.request("POST", collection(manifest), manifest)

    def tried(self, manifest: Manifest) -> Answer:
        """Return the answer of the API to a dry run."""
        return self.request("POST", f"{collection(manifest)}?dryRun=All", manifest)

    def apply(
        self, manifest: Manifest, *, manager: str = "stagedoor", strict: bool = False
    ) -> Answer:
        """Server-side apply; JSON is YAML. `strict`: a field that the API does not know is an error."""
        query = f"?fieldManager={manager}&force=true"
        query += "&fieldValidation=Strict" if strict else ""
        content = "application/apply-patch+yaml"
        return self.request("PATCH", item(manifest) + query, manifest, content)

    def merge(self, manifest: Manifest, patch: Manifest, subresource: str = "") -> Answer:
        path = f"{item(manifest)}/{subresource}".rstrip("/")
        return self.request("PATCH", path, patch, "application/merge-patch+json")

    def get(self, manifest: Manifest) -> Answer:
        return self.request("GET", item(manifest))

    def has(self, manifest: Manifest) -> Manifest:
        """See to it that the API has what the manifest says, as `kubectl apply --server-side` does."""
        made = self.apply(manifest, manager="kubectl", strict=True)
        assert made.ok, made.message
        return made.body

    def named(self, kind: str, namespace: str, name: str) -> Manifest:
        answer = self.get(reference(kind, name, namespace))
        assert answer.ok, answer.message
        return answer.body

    def listed(self, namespace: str, plurals: str, selector: str = "") -> list[Manifest]:
        """As `kubectl get PLURALS -l SELECTOR`, which costs 0.1 s of the processor: tests that wait for a
        cluster look again and again."""
        objects: list[Manifest] = []
        for plural in plurals.split(","):
            group = f"/apis/{GROUPS[plural]}" if plural in GROUPS else "/api/v1"
            path = f"{group}/namespaces/{namespace}/{plural}?labelSelector={quote(selector)}"
            answer = self.request("GET", path)
            assert answer.ok, answer.message
            kind = str(answer.body["kind"]).removesuffix("List")
            objects += [{**one, "kind": kind} for one in answer.body["items"]]
        return objects

    def delete(self, manifest: Manifest) -> Answer:
        return self.request("DELETE", item(manifest))

    def make_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """It has its account already, without which the API takes no pod."""
        made = self.create(namespace_of(name, labels))
        assert made.ok, made.message
        account = reference("ServiceAccount", "default", name)
        wait_until(lambda: self.get(account).ok, what=f"{name} has its account", costly=True)

    def forget(self, kind: str, *names: str) -> None:
        """Delete those that are there, of a kind in no namespace; it waits for nothing."""
        for name in names:
            gone = self.delete(reference(kind, name))
            assert gone.ok or gone.status == 404, gone.message

    def as_account(self, namespace: str, name: str) -> "Asker":
        """A service account, by a token of its own that the API issues (TokenRequest)."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        spec = {"audiences": [], "expirationSeconds": 3600}
        asked = self.request(
            "POST",
            path,
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        assert asked.ok, asked.message
        return Asker(self.url, self.ca, asked.body["status"]["token"])

    def may(self, namespace: str, verb: str, resource: str, name: str = "") -> bool:
        """What `kubectl auth can-i` asks (SelfSubjectAccessReview). `resource` is PLURAL[.GROUP][/SUB]."""
        plural, _, sub = resource.partition("/")
        plural, _, group = plural.partition(".")
        attributes = {
            "namespace": namespace,
            "verb": verb,
            "group": group,
            "resource": plural,
            "subresource": sub,
            "name": name,
        }
        asked = self.create(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
        )
        assert asked.ok, asked.message
        return bool(asked.body["status"]["allowed"])


def administrator(kubeconfig: Path) -> Asker:
    """Return the user of a kubeconfig with a token; the CA is named in it, or is beside it."""
    config = json.loads(kubeconfig.read_text())
    at, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    ca = at.get("certificate-authority") or str(kubeconfig.with_name("ca.crt"))
    return Asker(at["server"], ca, user["token"])


def collection(manifest: Manifest) -> str:
    kind = manifest["kind"]
    if kind == "SelfSubjectAccessReview":
        return "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    group, version, plural, namespaced = PLACES[kind]
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    if not namespaced:
        return f"{root}/{plural}"
    return f"{root}/namespaces/{manifest['metadata']['namespace']}/{plural}"


def item(manifest: Manifest) -> str:
    return f"{collection(manifest)}/{manifest['metadata']['name']}"


def reference(kind: str, name: str, namespace: str = "") -> Manifest:
    """What names an object; "" where its kind is in no namespace."""
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}}


def namespace_of(name: str, labels: Mapping[str, str] | None = None) -> Manifest:
    about = {"name": name, "labels": {**(labels or {})}}
    return {"apiVersion": "v1", "kind": str(Kind.NAMESPACE), "metadata": about}
