"""The manifests of a shell's Service, ConfigMap, Secret and lease, and the patches for them. Pure."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.model.grant import Admission
from stagedoor.model.target import Target
from stagedoor.shells.authorized import end_by, render_authorized_keys, render_authorized_principals
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.kit import PACKAGES_PATH
from stagedoor.shells.kubernetes.duration import show_duration
from stagedoor.shells.kubernetes.names import (
    CONTAINER,
    FAILURE,
    IDLE_SINCE,
    REQUEST_COUNT,
    REQUESTED_BY,
    RESUME_PORT,
    RESUME_PORT_NAME,
    SSH_PORT_NAME,
    SSHD_PORT,
    STALE,
    make_shell_labels,
    make_shell_name,
)
from stagedoor.shells.kubernetes.ports import Cause
from stagedoor.shells.kubernetes.sentences import clean_text
from stagedoor.wire.rfc3339 import parse_time, show_time
from stagedoor.wire.ssh.krl import encode_revoked_serials

KEYS_END = "keys_until"
"""The file with the time at which the keys beside it end (RFC 3339)."""

REVOKED = "revoked_keys"
"""The file of revoked certificates whose users are still in the file of principals."""


MAX_FAILURE_CHARS = 2000
"""The longest message of a failure on a lease. All annotations together may have 256 KiB, but readers need
less."""


def make_metadata(app: Object) -> dict[str, Any]:
    """Return the `metadata` of an object of the shell. It is owned by the app, and deleted with it."""
    metadata = app["metadata"]
    return {
        "name": make_shell_name(metadata["name"]),
        "namespace": metadata["namespace"],
        "labels": make_shell_labels(metadata["name"]),
        "ownerReferences": [make_owner(app)],
    }


def make_owner(app: Object) -> dict[str, Any]:
    """Return the ownerReference to an app, so that an object is deleted with the app."""
    return {
        "apiVersion": "apps/v1",
        "kind": app["kind"],
        "name": app["metadata"]["name"],
        "uid": app["metadata"]["uid"],
        "controller": False,
        "blockOwnerDeletion": False,
    }


def build_service(app: Object) -> Object:
    """Return the Service, by which other programs in the cluster find the shell. Gateways dial the pod.

    It has no address of its own: for one, the kubelet would add `APP01_SSH_SERVICE_HOST` and six more
    variables to every pod that starts later, including the app's (see `enableServiceLinks`).
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": make_metadata(app),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": make_shell_labels(app["metadata"]["name"]),
            # sshd's comes first, since gateways of an earlier version use the first.
            "ports": [
                {"name": SSH_PORT_NAME, "port": 22, "targetPort": SSHD_PORT, "protocol": "TCP"},
                {
                    "name": RESUME_PORT_NAME,
                    "port": RESUME_PORT,
                    "targetPort": RESUME_PORT,
                    "protocol": "TCP",
                },
            ],
        },
    }


def build_config_map(
    app: Object,
    target: Target,
    settings: AppSettings,
    image: str,
    admissions: Iterable[Admission],
    user_cas: Sequence[str],
    *,
    until: float,
    notice: str = "",
) -> Object:
    """Return the ConfigMap that sshd and its start script read. It contains no secret.

    `image` is the image that the shell runs; `user_cas` are the user CAs' public keys, each `type base64`;
    `until` is when all keys end unless they are renewed. `notice` is a line for open sessions or empty, which
    the kit shows whenever it changes.
    """
    users = build_keys(admissions, until)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": make_metadata(app),
        "data": {
            "user_ca.pub": "".join(f"{line}\n" for line in user_cas),
            **users["data"],
            "motd": format_motd(target, settings, image, notice),
            **({"notice": f"{notice}\n"} if notice else {}),
            "settings": format_shell_settings(settings),
        },
        "binaryData": users["binaryData"],
    }


def build_keys(admissions: Iterable[Admission], until: float) -> dict[str, dict[str, str]]:
    """Return the `data` and `binaryData` of the ConfigMap that decide who may log in, with `KEYS_END`."""
    admitted = end_by(admissions, until)
    # The time is 0, so that the list stays the same while its serials do.
    revoked = encode_revoked_serials(
        b"", chain.from_iterable(admission.revoked for admission in admitted), 0
    )
    return {
        "data": {
            "authorized_principals": render_authorized_principals(admitted),
            # sshd checks certificates by the file of principals and the user CAs, so no CA has a line here.
            "authorized_keys": render_authorized_keys(admitted, ()),
            KEYS_END: show_time(until),
        },
        "binaryData": {REVOKED: b64encode(revoked).decode("ascii")},
    }


def format_motd(target: Target, settings: AppSettings, image: str, notice: str = "") -> str:
    """Return the text that is shown at the start of a terminal."""
    name = f"{target.app} in {target.environment}" if target.environment else target.app
    if settings.warm:
        until = "It is kept running."
    else:
        until = (
            f"It stops {show_duration(settings.idle_stop_s)} after the last session; "
            f"a detached tmux keeps it for {show_duration(settings.tmux_grace_s)}."
        )
    moved_on = f"{notice}.\n" if notice else ""
    return (
        f"This is a shell of {name}, beside its serving pods.\n"
        f"Image: {clean_text(image)}\n"
        f"{moved_on}"
        f"{until} What is not on a volume is gone then.\n"
    )


def format_shell_settings(settings: AppSettings) -> str:
    """Return `KEY=VALUE` lines for `/kit/bin/start`, with line ends in values replaced."""
    lines = {
        "STAGEDOOR_GRACE_S": str(settings.grace_s),
        "STAGEDOOR_LOGIN_NAME": settings.login_name or "",
        "STAGEDOOR_DIRECTORY": settings.directory or "",
        "STAGEDOOR_PACKAGES": PACKAGES_PATH if settings.packages_image else "",
    }
    return "".join(f"{key}={clean_text(value, 4096)}\n" for key, value in lines.items() if value)


def build_secret(app: Object, host_key: bytes, certificate: str) -> Object:
    """Return the Secret with the host key (OpenSSH's PEM form) and its certificate (one line)."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": make_metadata(app),
        "data": {
            "ssh_host_ed25519_key": b64encode(host_key).decode("ascii"),
            "ssh_host_ed25519_key-cert.pub": b64encode(f"{certificate.strip()}\n".encode()).decode(
                "ascii"
            ),
        },
    }


def build_lease(app: Object, holder: str, now: float, user: str = "") -> Object:
    """Return a new lease, whose creation requests the shell; `user` is set if this is for a login.

    `holder` is the replica that creates the lease.
    """
    annotations = {"annotations": {REQUESTED_BY: user}} if user else {}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {**make_metadata(app), **annotations},
        "spec": make_renewal(holder, now)["spec"],
    }


def make_renewal(holder: str, now: float) -> Object:
    """Return the merge patch that renews a lease."""
    return {"spec": {"holderIdentity": holder, "renewTime": show_time(now, micro=True)}}


def make_stop_request() -> Object:
    """Return the merge patch of a lease that stops the shell now, even with open sessions (`app stop`)."""
    return {"spec": {"renewTime": None}}


def read_renewal(lease: Object) -> float | None:
    """Return `spec.renewTime` in seconds since the epoch, or None if it is missing or unreadable."""
    return read_time((lease.get("spec") or {}).get("renewTime"))


def read_time(text: object) -> float | None:
    """Return an RFC 3339 time, such as that of IDLE_SINCE, in seconds since the epoch; otherwise None."""
    return parse_time(text) if isinstance(text, str) else None


def count_requests(lease: Object | None) -> int:
    """Return the number of requests for the shell (REQUEST_COUNT), 0 if the lease has none."""
    text = str(_annotations(lease).get(REQUEST_COUNT, "")) if lease is not None else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def make_request(holder: str, now: float, count: int, user: str = "") -> Object:
    """Return the merge patch that requests the shell: a renewal that also removes an earlier failure."""
    annotations = {
        REQUEST_COUNT: str(count),
        FAILURE: None,
        **({REQUESTED_BY: user} if user else {}),
    }
    return {**make_renewal(holder, now), "metadata": {"annotations": annotations}}


def make_failure_patch(cause: Cause | None, now: float, answers: int = 0) -> Object:
    """Return the merge patch that writes the failure of a shell into its lease, or that removes it (None).

    `answers` is the result of `count_requests` from the start of the attempt that failed.
    """
    failure = None
    if cause is not None:
        failure = json.dumps(
            {
                "step": cause.step,
                "message": cause.message[:MAX_FAILURE_CHARS],
                "at": show_time(now),
                "answers": answers,
            },
            ensure_ascii=False,
        )
    return {"metadata": {"annotations": {FAILURE: failure}}}


def read_failure_cause(lease: Object) -> Cause | None:
    """Return the failure that `make_failure_patch` wrote; None if it is missing or unreadable."""
    failure = read_failure(lease)
    return failure[0] if failure is not None else None


def read_failure(lease: Object) -> tuple[Cause, int] | None:
    """Return the failure and the `answers` that `make_failure_patch` wrote, or None if there are none."""
    text = _annotations(lease).get(FAILURE)
    try:
        failure = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(failure, dict):
        return None
    step, message = failure.get("step"), failure.get("message")
    if not isinstance(step, str) or not isinstance(message, str):
        return None
    answers = failure.get("answers")
    return Cause(step, message), answers if isinstance(answers, int) else 0


def _annotations(item: Object) -> Mapping[str, Any]:
    return item["metadata"].get("annotations") or {}


def read_image(shell: Object) -> str:
    """Return the image of sshd's container in a shell's Deployment; empty if there is no such container."""
    containers = shell["spec"]["template"]["spec"]["containers"]
    return next((str(item["image"]) for item in containers if item["name"] == CONTAINER), "")


def make_marks_patch(
    stale: str | None,
    idle_since: float | None,
    more: Mapping[str, str | None] = MappingProxyType({}),
) -> Object:
    """Return the merge patch for `lifecycle.Mark`; `more` are the annotations of `choose_marks`."""
    since = None if idle_since is None else show_time(idle_since)
    return {"metadata": {"annotations": {STALE: stale, IDLE_SINCE: since, **more}}}


def make_stop_patch(now: float) -> Object:
    """Return the merge patch for `lifecycle.ScaleToZero`."""
    return {
        "metadata": {"annotations": {IDLE_SINCE: show_time(now)}},
        "spec": {"replicas": 0},
    }
