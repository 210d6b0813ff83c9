"""The manifests of a shell's other objects, and what stands in them. Pure."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

from stagedoor.model.admission import Admission
from stagedoor.model.cluster import Object
from stagedoor.model.target import Target
from stagedoor.shells.authorized import authorized_keys, authorized_principals, ending_by
from stagedoor.shells.kubernetes.cause import Cause
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, kind_of
from stagedoor.shells.kubernetes.derive.kit import PACKAGES_PATH
from stagedoor.shells.kubernetes.duration import show_duration
from stagedoor.shells.kubernetes.names import (
    ASKED,
    CONTAINER,
    FAILURE,
    IDLE_SINCE,
    SSHD_PORT,
    STALE,
    shell_labels,
    shell_object,
)
from stagedoor.shells.kubernetes.sentences import plain
from stagedoor.wire.krl import encode_revoked_serials
from stagedoor.wire.rfc3339 import parse_time, show_time

KEYS_END = "keys_until"
"""The file that says when those beside it end, RFC 3339."""

REVOKED = "revoked_keys"
"""The file that lists certificates which are taken no more, though the file of principals has their user."""


MAX_FAILURE_CHARS = 2000
"""Of a failure's message on a lease: annotations have 256 KiB together, a person has less."""


def metadata_of(app: Object) -> dict[str, Any]:
    """`metadata` of everything that belongs to the app's shell: it goes when the app goes."""
    metadata = app["metadata"]
    return {
        "name": shell_object(metadata["name"]),
        "namespace": metadata["namespace"],
        "labels": shell_labels(metadata["name"]),
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": kind_of(app),
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": False,
                "blockOwnerDeletion": False,
            }
        ],
    }


def service(app: Object) -> Object:
    """The Service, by whose EndpointSlices the gateway finds the pod.

    It has no address of its own: one would be told to every pod that starts after it, as
    `APP01_SSH_SERVICE_HOST` and six more variables (see `enableServiceLinks`), the app's included.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata_of(app),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": shell_labels(app["metadata"]["name"]),
            "ports": [{"name": "ssh", "port": 22, "targetPort": SSHD_PORT, "protocol": "TCP"}],
        },
    }


def config_map(
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
    """What sshd and its start script read, all of it public; changes with the policy.

    `image` is what the shell runs; `user_cas` are the user CAs' public keys, each `type base64`; `until` is
    when all keys end unless they are renewed. `notice` is a line for those inside, empty for none: the kit
    shows it when it changes.
    """
    theirs = keys(admissions, until)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata_of(app),
        "data": {
            "user_ca.pub": "".join(f"{line}\n" for line in user_cas),
            **theirs["data"],
            "motd": motd(target, settings, image, notice),
            **({"notice": f"{notice}\n"} if notice else {}),
            "settings": shell_settings(target, settings, image),
        },
        "binaryData": theirs["binaryData"],
    }


def keys(admissions: Iterable[Admission], until: float) -> dict[str, dict[str, str]]:
    """That part of the ConfigMap that says who may log in, and `KEYS_END`: `data` and `binaryData`."""
    admitted = ending_by(admissions, until)
    # No time is in it: what says the same must not be written again.
    revoked = encode_revoked_serials(b"", chain.from_iterable(one.revoked for one in admitted), 0)
    return {
        "data": {
            "authorized_principals": authorized_principals(admitted),
            # Certificates are judged by that file and the user CA's, so no CA has a line here.
            "authorized_keys": authorized_keys(admitted, ()),
            KEYS_END: show_time(until),
        },
        "binaryData": {REVOKED: b64encode(revoked).decode("ascii")},
    }


def motd(target: Target, settings: AppSettings, image: str, notice: str = "") -> str:
    """What a terminal shows first."""
    place = f"{target.app} in {target.environment}" if target.environment else target.app
    if settings.warm:
        until = "It is kept running."
    else:
        until = (
            f"It stops {show_duration(settings.idle_stop_s)} after the last session; "
            f"a detached tmux keeps it for {show_duration(settings.tmux_grace_s)}."
        )
    moved_on = f"{notice}.\n" if notice else ""
    return (
        f"This is a shell of {place}, beside its serving pods.\n"
        f"Image: {plain(image)}\n"
        f"{moved_on}"
        f"{until} What is not on a volume is gone then.\n"
    )


def shell_settings(target: Target, settings: AppSettings, image: str) -> str:
    """`KEY=VALUE` lines for `/kit/bin/start`. What would be more than a line is made one: an image is
    whatever the app's author writes, and the API lets line ends pass in it."""
    lines = {
        "STAGEDOOR_APP": target.app,
        "STAGEDOOR_ENVIRONMENT": target.environment or "",
        "STAGEDOOR_IMAGE": image,
        # A shell that is kept warm never stops by itself.
        "STAGEDOOR_IDLE_STOP_S": "" if settings.warm else str(settings.idle_stop_s),
        "STAGEDOOR_GRACE_S": str(settings.grace_s),
        "STAGEDOOR_LOGIN_NAME": settings.login_name or "",
        "STAGEDOOR_DIRECTORY": settings.directory or "",
        "STAGEDOOR_PACKAGES": PACKAGES_PATH if settings.packages_image else "",
    }
    return "".join(f"{key}={plain(value, 4096)}\n" for key, value in lines.items() if value)


def secret(app: Object, host_key: bytes, certificate: str) -> Object:
    """The host key (OpenSSH's PEM form) and its certificate (one line)."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata_of(app),
        "data": {
            "ssh_host_ed25519_key": b64encode(host_key).decode("ascii"),
            "ssh_host_ed25519_key-cert.pub": b64encode(f"{certificate.strip()}\n".encode()).decode(
                "ascii"
            ),
        },
    }


def lease(app: Object, holder: str, now: float) -> Object:
    """A fresh lease, for `create`: somebody asks for the shell. `holder` is the gateway's replica."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata_of(app),
        "spec": renewal(holder, now)["spec"],
    }


def renewal(holder: str, now: float) -> Object:
    """The merge patch that renews a lease."""
    return {"spec": {"holderIdentity": holder, "renewTime": show_time(now, micro=True)}}


def stop_request() -> Object:
    """The merge patch of a lease that says: stop now, even with people inside (`stagedoor app stop`)."""
    return {"spec": {"renewTime": None}}


def renewed_at(lease: Object) -> float | None:
    """`spec.renewTime` in seconds since the epoch, None if it has none that can be read."""
    return time_of((lease.get("spec") or {}).get("renewTime"))


def time_of(text: object) -> float | None:
    """An RFC 3339 time, such as IDLE_SINCE has, in seconds since the epoch; None for anything else."""
    return parse_time(text) if isinstance(text, str) else None


def asked(lease: Object | None) -> int:
    """How often the shell was asked for (ASKED); 0 where nothing says so."""
    said = ((lease or {}).get("metadata") or {}).get("annotations") or {}
    text = str(said.get(ASKED, ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def request(holder: str, now: float, count: int) -> Object:
    """The merge patch by which somebody asks: a renewal that takes an earlier failure away."""
    said = {ASKED: str(count), FAILURE: None}
    return {**renewal(holder, now), "metadata": {"annotations": said}}


def failure_patch(cause: Cause | None, now: float, answers: int = 0) -> Object:
    """The merge patch of a lease that says why its shell cannot be made; None: it can. `answers` is what
    `asked` said when it was tried."""
    said = None
    if cause is not None:
        said = json.dumps(
            {
                "step": cause.step,
                "message": cause.message[:MAX_FAILURE_CHARS],
                "at": show_time(now),
                "answers": answers,
            },
            ensure_ascii=False,
        )
    return {"metadata": {"annotations": {FAILURE: said}}}


def failure_of(lease: Object) -> Cause | None:
    """What `failure_patch` wrote, None if there is nothing that can be read."""
    found = answered_failure(lease)
    return found[0] if found is not None else None


def answered_failure(lease: Object) -> tuple[Cause, int] | None:
    """The same, and which count of ASKED it answers."""
    text = ((lease.get("metadata") or {}).get("annotations") or {}).get(FAILURE)
    try:
        said = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    step, message = said.get("step"), said.get("message")
    if not isinstance(step, str) or not isinstance(message, str):
        return None
    answers = said.get("answers")
    return Cause(step, message), answers if isinstance(answers, int) else 0


def image_of(shell: Object) -> str:
    """What a shell's Deployment has sshd's container run."""
    containers = shell["spec"]["template"]["spec"]["containers"]
    return next((str(one["image"]) for one in containers if one["name"] == CONTAINER), "")


def marks_patch(
    stale: str | None,
    idle_since: float | None,
    more: Mapping[str, str | None] = MappingProxyType({}),
) -> Object:
    """The merge patch for `lifecycle.Mark`; `more` are annotations of `outdated`."""
    since = None if idle_since is None else show_time(idle_since)
    return {"metadata": {"annotations": {STALE: stale, IDLE_SINCE: since, **more}}}


def stop_patch(now: float) -> Object:
    """The merge patch for `lifecycle.ScaleToZero`."""
    return {
        "metadata": {"annotations": {IDLE_SINCE: show_time(now)}},
        "spec": {"replicas": 0},
    }
