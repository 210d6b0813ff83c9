"""What each program of the node is started with. Pure but for the programs' paths."""

import json
from dataclasses import replace

from tests.cluster.place import (
    API_PORT,
    DNS_SERVICE,
    NODE_ADDRESS,
    POD_BRIDGE,
    POD_NETWORK,
    SANDBOX_IMAGE,
    SECOND_TAINT,
    SERVICE_NETWORK,
    Place,
)
from tests.cluster.programs import program

ETCD = "http://127.0.0.1:2379"
KUBELET_FOLDER = "/var/lib/kubelet"
"""Its own name for a folder of the state: the kubelet has sockets deep below, and sockets need short
paths (unix(7))."""
STORE = ("etcd", "containerd", "kube-apiserver")
"""The programs that start first; they need no other."""
REST = ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy")
"""What starts when the API server answers."""
FIREWALL = ("kube-router",)
"""What starts when there is a node: it ends if it finds none."""
SECOND = ("containerd2", "kubelet2")
"""What makes the second node, which is started for a test."""
ALL = STORE + REST + FIREWALL + SECOND


def command(place: Place, name: str) -> list[str]:
    """The argument list of one program of ALL.

    Raises:
        KeyError: there is no such program.
    """
    secrets, kubeconfig = place.secrets, str(place.secrets / f"{name}.kubeconfig")
    if name in SECOND:
        place, name = replace(place, node="2"), name.removesuffix("2")
    keys = f"{secrets}/service-accounts.key"
    node = f"--hostname-override={place.node_name}"
    kubelet_folder = KUBELET_FOLDER + place.node
    flags: dict[str, list[str]] = {
        "etcd": [
            "--unsafe-no-fsync",
            f"--data-dir={place.state}/etcd",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ],
        "containerd": [f"--config={place.config}/containerd{place.node}.toml"],
        "kube-apiserver": [
            f"--etcd-servers={ETCD}",
            f"--secure-port={API_PORT}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={NODE_ADDRESS}",
            f"--cert-dir={place.state}/apiserver",
            f"--tls-cert-file={secrets}/apiserver.crt",
            f"--tls-private-key-file={secrets}/apiserver.key",
            f"--client-ca-file={secrets}/ca.crt",
            f"--token-auth-file={secrets}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys}",
            f"--service-account-signing-key-file={keys}",
            f"--kubelet-client-certificate={secrets}/kubelet-caller.crt",
            f"--kubelet-client-key={secrets}/kubelet-caller.key",
            f"--kubelet-certificate-authority={secrets}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            # No program uses it, but the others complain of its absence every few seconds.
            f"--requestheader-client-ca-file={secrets}/ca.crt",
            "--requestheader-allowed-names=nobody",
            # The first needs a newer etcd than Debian 12's, and says so again and again; the second is
            # on by itself from Kubernetes 1.35 on.
            "--feature-gates=SizeBasedListCostEstimate=false,ImageVolume=true",
            "--allow-privileged",
            "--enable-admission-plugins=NodeRestriction",
        ],
        "kube-controller-manager": [
            *_kubeconfigs(kubeconfig),
            f"--service-account-private-key-file={keys}",
            f"--root-ca-file={secrets}/ca.crt",
            "--use-service-account-credentials",
            # It would hold back its own start for seconds; nobody else asks much here.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--controllers=*,-node-ipam-controller,-cloud-node-lifecycle-controller,"
            "-service-lb-controller",
        ],
        "kube-scheduler": [
            *_kubeconfigs(kubeconfig),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
        "kubelet": [
            f"--config={place.config}/kubelet{place.node}.json",
            f"--kubeconfig={kubeconfig}",
            node,
            f"--node-ip={NODE_ADDRESS}",
            f"--root-dir={kubelet_folder}",
            f"--cert-dir={kubelet_folder}/pki",
        ],
        "kube-proxy": [
            "--proxy-mode=nftables",
            f"--cluster-cidr={POD_NETWORK}",
            node,
            f"--kubeconfig={kubeconfig}",
            # Zero leaves the kernel's own: only the machine's first network namespace may set them.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        "kube-router": [
            "--run-router=false",
            "--run-firewall=true",
            "--run-service-proxy=false",
            f"--kubeconfig={kubeconfig}",
            node,
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
        ],
    }
    path = name if name == "etcd" else str(program(name))
    return [path, *flags[name]]


def _kubeconfigs(path: str) -> list[str]:
    return [
        f"--{purpose}kubeconfig={path}" for purpose in ("", "authentication-", "authorization-")
    ]


def kubelet_config(place: Place) -> str:
    """The kubelet's configuration file (KubeletConfiguration, kubelet.config.k8s.io/v1beta1)."""
    second = {
        "port": 10350,
        "healthzPort": 10348,
        "cgroupRoot": f"/{place.cgroup}/second",
        "registerWithTaints": [{"key": SECOND_TAINT, "effect": "NoSchedule"}],
    }
    never = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "featureGates": {"ImageVolume": True},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{place.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "localStorageCapacityIsolation": False,
            "resolvConf": "",
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{place.containerd_socket}",
            "podLogsDir": f"{place.state}/pods{place.node}",
            "tlsCertFile": f"{place.secrets}/kubelet.crt",
            "tlsPrivateKeyFile": f"{place.secrets}/kubelet.key",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": f"{place.secrets}/ca.crt"},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "evictionHard": dict.fromkeys(never, "0%"),
            "imageGCHighThresholdPercent": 100,
            "maxPods": 200,
            **(second if place.node else {}),
        },
        indent=2,
    )


def containerd_config(place: Place, plugins: str, *, overlay: bool) -> str:
    """containerd's configuration file (its version 3, containerd-config.toml(5) of 2.x).

    Args:
        plugins: the folder of the CNI plugins.
        overlay: whether the state folder's filesystem can be below an overlay.
    """
    images = 'plugins."io.containerd.cri.v1.images"'
    runtime = 'plugins."io.containerd.cri.v1.runtime"'
    snapshotter = "overlayfs" if overlay else "native"
    return f"""\
version = 3
root = "{place.state}/containerd{place.node}"
state = "/run/containerd{place.node}"

[grpc]
address = "{place.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{place.state}/opt{place.node}"

[{images}]
snapshotter = "{snapshotter}"

[{images}.pinned_images]
sandbox = "{SANDBOX_IMAGE}"

[{runtime}]
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true

[{runtime}.cni]
bin_dirs = ["{plugins}"]
conf_dir = "{place.config}/cni"

[{runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{program("containerd-shim-runc-v2")}"

[{runtime}.containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def cni_config(place: Place) -> str:
    """The pods' network: a bridge with the node as the way out (CNI spec 1.0.0)."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": POD_BRIDGE,
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": POD_NETWORK}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": f"{place.state}/cni",
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
        indent=2,
    )
