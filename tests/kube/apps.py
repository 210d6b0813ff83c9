"""Apps for the tests: Deployments as developers write them, that offer a shell."""

from typing import Any

from stagedoor.shells.kubernetes.names import OPT_IN, PREFIX


def deployment(
    namespace: str,
    name: str = "app01",
    image: str = "stagedoor.test/busybox:1",
    *,
    replicas: int = 0,
    env: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **container: Any,
) -> dict[str, Any]:
    """An app. `annotations` are ours, without their prefix; `container` goes into its container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {OPT_IN: "true"},
            "annotations": {PREFIX + key: value for key, value in (annotations or {}).items()},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        {
                            "name": "web",
                            "image": image,
                            "imagePullPolicy": "IfNotPresent",
                            "env": [{"name": k, "value": v} for k, v in (env or {}).items()],
                            **container,
                        }
                    ],
                },
            },
        },
    }
