"""The sample apps of `script/demo --kubernetes`: objects as a developer writes them. Pure."""

from typing import Any

from stagedoor.shells.kubernetes.names import OPT_IN

IMAGE = "busybox"
"""An image of the test cluster: it has a web server on port 8080 and a shell, and no sshd."""
WEB_PORT = 8080
USER_ID = 12345
ENVIRONMENT = {"GREETING": "it's “你好” ☕", "APP_NAME": ""}
SECRET = {"DATABASE_URL": "postgres://app:sesame@db.example/app"}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def namespace(name: str) -> dict[str, Any]:
    """Return a Namespace that takes only pods of Pod Security's level `restricted`."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": RESTRICTED},
    }


def app(namespace: str, name: str, image: str) -> list[dict[str, Any]]:
    """Return Secret, Deployment, Service and Ingress of an app that offers a shell."""
    where = {"namespace": namespace, "name": name, "labels": {"app": name}}
    pods = {"app": name}
    container = {
        "name": "web",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": WEB_PORT}],
        "env": [{"name": k, "value": v} for k, v in {**ENVIRONMENT, "APP_NAME": name}.items()],
        "envFrom": [{"secretRef": {"name": name}}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    service = {"service": {"name": name, "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": service}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": where, "stringData": SECRET},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**where, "labels": {**pods, OPT_IN: "true"}},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": pods},
                "template": {"metadata": {"labels": pods}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": where,
            "spec": {
                "selector": pods,
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            },
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": where,
            "spec": {"rules": [{"host": f"{name}.example", "http": {"paths": [path]}}]},
        },
    ]
