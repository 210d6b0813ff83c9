"""The cluster's own CA and what it signs, and a token for each that speaks to the API server."""

import json
import secrets
import subprocess
from pathlib import Path

from tests.cluster.place import API_PORT, API_SERVICE, NODE_ADDRESS, NODE_NAME, Place

ACCOUNTS = {
    # name: user, groups. The roles behind them are Kubernetes' own, but for the two administrators.
    "admin": ("admin", "system:masters"),
    "kube-router": ("kube-router", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "kubelet2": (f"system:node:{NODE_NAME}2", "system:nodes"),
}
_API_NAMES = (
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
    "DNS:kubernetes.default.svc.cluster.local,DNS:localhost,"
    f"IP:{API_SERVICE},IP:{NODE_ADDRESS},IP:127.0.0.1"
)


def write_secrets(place: Place) -> None:
    """Write CA, certificates, service account key, tokens and kubeconfigs, once."""
    folder = place.secrets
    if place.kubeconfig.exists():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    _certificate(folder, "ca", "/CN=stagedoor-cluster", "basicConstraints=critical,CA:TRUE")
    _certificate(folder, "apiserver", "/CN=kube-apiserver", f"subjectAltName={_API_NAMES}")
    names = f"subjectAltName=DNS:{NODE_NAME},IP:{NODE_ADDRESS}"
    _certificate(folder, "kubelet", f"/CN=system:node:{NODE_NAME}", names)
    _certificate(folder, "kubelet-caller", "/CN=kube-apiserver", "extendedKeyUsage=clientAuth")
    _key(folder / "service-accounts.key")
    tokens = {name: secrets.token_urlsafe(32) for name in ACCOUNTS}
    lines = [
        f'{tokens[name]},{user},{name},"{groups}"' for name, (user, groups) in ACCOUNTS.items()
    ]
    _private(folder / "tokens.csv", "\n".join(lines) + "\n")
    # The administrator's comes last: its presence says that all are there.
    for name in reversed(ACCOUNTS):
        _private(folder / f"{name}.kubeconfig", _kubeconfig(folder, name, tokens[name]))


def _kubeconfig(folder: Path, name: str, token: str) -> str:
    """As JSON, which is YAML as well."""
    authority = (folder / "ca.crt").read_bytes()
    import base64

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "stagedoor",
                    "cluster": {
                        "server": f"https://{NODE_ADDRESS}:{API_PORT}",
                        "certificate-authority-data": base64.b64encode(authority).decode(),
                    },
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "stagedoor", "context": {"cluster": "stagedoor", "user": name}}],
            "current-context": "stagedoor",
        },
        indent=2,
    )


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _key(path: Path) -> None:
    path.touch(mode=0o600)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))


def _certificate(folder: Path, name: str, subject: str, extension: str) -> None:
    """`name.key` and `name.crt`; signed by the CA, or by itself if it is the CA."""
    key = folder / f"{name}.key"
    _key(key)
    signer = []
    if name != "ca":
        signer = ["-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")]
        extension += "\n"
    request = folder / f"{name}.csr"
    _openssl("req", "-new", "-key", str(key), "-subj", subject, "-out", str(request))
    extensions = folder / f"{name}.ext"
    extensions.write_text(extension + "\n", encoding="utf-8")
    _openssl(
        *("x509", "-req", "-in", str(request), "-days", "365", "-sha256"),
        *("-extfile", str(extensions), "-out", str(folder / f"{name}.crt")),
        *(signer or ["-signkey", str(key)]),
        *(["-CAcreateserial"] if signer else []),
    )
    request.unlink()
    extensions.unlink()


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
