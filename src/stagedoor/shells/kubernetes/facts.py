"""What an app has, in lines that the cluster's own fence can look for. Pure.

The fence (deploy/chart/templates/admission.yaml) refuses a shell that has something of which there
is no line here. It is CEL, which knows no JSON; so each line is `WHAT=VALUE`, and to look for one is
to look for a text between two line ends. Fields: core/v1 PodSpec.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.names import PREFIX

_IMAGES = (f"{PREFIX}image", f"{PREFIX}packages-image")
_REGISTRIES = ("docker.io/", "docker.io/library/")
"""What a container runtime puts before a name that has no registry."""


def facts_of(app: Object) -> str:
    """The lines of a Deployment or StatefulSet, sorted. A value with a line end has none."""
    pod = app["spec"]["template"]["spec"]
    annotations = app["metadata"].get("annotations") or {}
    found = {
        f"kind={app['kind']}",
        f"account={pod.get('serviceAccountName') or pod.get('serviceAccount') or ''}",
        f"token={_word(pod.get('automountServiceAccountToken'))}",
        f"runtime={pod.get('runtimeClassName') or ''}",
        *(f"named={annotations[name]}" for name in _IMAGES if annotations.get(name)),
        *(f"pull={one.get('name', '')}" for one in pod.get("imagePullSecrets") or ()),
        *_sysctls(pod.get("securityContext") or {}),
    }
    for container in (*pod["containers"], *(pod.get("initContainers") or ())):
        found.update(_of_container(container))
    for volume in pod.get("volumes") or ():
        found.update(_of_volume(volume))
    return "\n".join(sorted(line for line in found if "\n" not in line))


def _of_container(container: Mapping[str, Any]) -> Iterator[str]:
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield from _given(source.get("secretKeyRef"), source.get("configMapKeyRef"))
    for source in container.get("envFrom") or ():
        yield from _given(source.get("secretRef"), source.get("configMapRef"))
    capabilities = (container.get("securityContext") or {}).get("capabilities") or {}
    yield from (f"capability={name}" for name in capabilities.get("add") or ())
    repository = without_tag(str(container.get("image", "")))
    yield f"image={repository}"
    yield from (f"image={registry}{repository}" for registry in _REGISTRIES)


def _of_volume(volume: Mapping[str, Any]) -> Iterator[str]:
    """Kinds that are not named here have no line, so no shell has them under the fence."""
    kind = next((key for key in volume if key != "name"), "emptyDir")
    source = volume.get(kind) or {}
    if kind == "secret":
        yield f"secret={source.get('secretName', '')}"
    elif kind == "configMap":
        yield f"configmap={source.get('name', '')}"
    elif kind == "projected":
        for one in source.get("sources") or ():
            yield from _given(one.get("secret"), one.get("configMap"))
            if "serviceAccountToken" in one:
                yield f"audience={one['serviceAccountToken'].get('audience', '')}"
    elif kind == "persistentVolumeClaim":
        yield f"claim={source.get('claimName', '')}"
    elif kind == "csi":
        driver = source.get("driver", "")
        yield f"csi={driver}"
        for key, value in (source.get("volumeAttributes") or {}).items():
            yield f"csi={driver} {key}={value}"
        secret = (source.get("nodePublishSecretRef") or {}).get("name")
        if secret:
            yield f"csi={driver} secret {secret}"
    elif kind == "nfs":
        yield f"nfs={source.get('server', '')} {source.get('path', '')}"
    elif kind == "azureFile":
        yield f"azurefile={source.get('secretName', '')} {source.get('shareName', '')}"
    elif kind == "hostPath":
        yield f"hostpath={source.get('path', '')}"
    elif kind == "image":
        yield f"named={source.get('reference', '')}"


def without_tag(image: str) -> str:
    """An image's name without its digest and tag: a colon before the last slash is a port's."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}"


def _given(secret: Mapping[str, Any] | None, config_map: Mapping[str, Any] | None) -> Iterable[str]:
    if secret is not None:
        yield f"secret={secret.get('name', '')}"
    if config_map is not None:
        yield f"configmap={config_map.get('name', '')}"


def _sysctls(context: Mapping[str, Any]) -> Iterator[str]:
    for one in context.get("sysctls") or ():
        yield f"sysctl={one.get('name', '')}={one.get('value', '')}"


def _word(value: bool | None) -> str:
    """As CEL writes it; "" where nothing is said."""
    return "" if value is None else str(value).lower()
