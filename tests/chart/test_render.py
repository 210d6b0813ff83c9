"""Values as helm renders them: settings that Stagedoor takes, pods that Pod Security takes, and refusals."""

import copy
import json
import re
from typing import Any

import pytest
import yaml

from stagedoor.settings.file import parse_settings
from stagedoor.settings.settings import Settings
from tests.chart.chart import CHART, VALUES, helm, merged, of_kind, refused, render, the
from tests.cluster.asking import Manifest

APPS: Manifest = {
    "apps": {"namespaces": [{"name": "apps"}, {"name": "apps-2", "environment": "staging"}]}
}
TRIAL: Manifest = {
    "store": {"postgresql": {"url": ""}, "sqlite": {"enabled": True}},
    "gateway": {"replicas": 1},
}
EVERYTHING: Manifest = merged(
    APPS,
    {
        "imagePullSecrets": ["pull"],
        "gateway": {
            "proxyProtocolFrom": ["10.1.0.0/24"],
            "tls": {"secretName": "tls"},
            "service": {
                "type": "NodePort",
                "annotations": {"a": "b"},
                "nodePorts": {"tunnel": 30022, "tls": 30443, "ssh": 30222},
            },
            "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "x", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"a": "b"},
        },
        "controller": {"podAnnotations": {"a": "b"}},
        "store": {"postgresql": {"passwordSecret": "db", "caSecret": "db-ca"}},
        "settings": {
            "ssh": {"accept_env": ["LANG"]},
            "workers": {"drain_timeout_s": 60},
            "shells": {
                "start_timeout_s": 30.5,
                "static": [{"app": "build", "host": "build.example", "port": 2022}],
            },
        },
        "authorise": {"enabled": True},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
)


def settings_of(objects: list[Manifest], name: str) -> Settings:
    text = the(objects, "ConfigMap", name)["data"]["stagedoor.toml"]
    return parse_settings(text, "the chart's")


def test_the_settings_are_taken_and_say_what_the_values_say() -> None:
    objects = render(EVERYTHING)
    gateway = settings_of(objects, "stagedoor-gateway")
    assert gateway.kubernetes.namespaces == {"": "apps", "staging": "apps-2"}
    assert gateway.kubernetes.authorise == "pods/exec"
    assert gateway.kubernetes.register
    assert not gateway.kubernetes.controller
    assert gateway.host_ca_public_only
    assert gateway.tunnel.tls_addresses == (":8443",)
    assert gateway.ssh.host_names == ("gw.example",)
    assert gateway.ssh.accept_env == ("LANG",)
    assert gateway.workers.drain_timeout_s == 60
    assert [shell.port for shell in gateway.shells.static] == [2022]
    assert gateway.shells.start_timeout_s == 30.5
    assert gateway.store.url == "postgresql://stagedoor@db.example/stagedoor"
    controller = settings_of(objects, "stagedoor-controller")
    assert controller.controller.kit_image == "localhost/stagedoor-kit:dev"
    # Both derive shells, the gateway to compare: from the same settings, an administrator's own too.
    assert gateway.controller == controller.controller
    own = render(EVERYTHING, settings={"controller": {"grace_s": 7, "kit_way": "init"}})
    [one, other] = [settings_of(own, f"stagedoor-{name}") for name in ("gateway", "controller")]
    assert one.controller == other.controller
    assert (one.controller.grace_s, one.controller.kit_way) == (7, "init")
    assert controller.user_ca_file.suffix == ".pub", "it signs no users"
    assert controller.store == gateway.store
    # What the gateway signs is what the controller lists in the shells.
    own = render(EVERYTHING, settings={"keys": {"principal_prefix": "sd:"}})
    for name, before in (("gateway", gateway), ("controller", controller)):
        settings = settings_of(own, f"stagedoor-{name}")
        assert settings.keys.principal_prefix == "sd:"
        assert settings.user_ca_file == before.user_ca_file


def test_the_alerts_and_the_dashboard_are_those_of_the_files() -> None:
    objects = render(EVERYTHING)
    files = CHART / "monitoring"
    rule = the(objects, "PrometheusRule", "stagedoor")
    assert rule["spec"] == yaml.safe_load((files / "rules.yaml").read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    board = the(objects, "ConfigMap", "stagedoor-dashboard")
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    shown = json.loads(board["data"]["stagedoor.json"])
    assert shown == json.loads((files / "dashboard.json").read_text())


@pytest.mark.parametrize(
    ("gateway", "port", "tunnel", "web"),
    [
        ({}, 22, "http://gw.example:8022", None),
        ({"service": {"ports": {"ssh": 8023}}}, 8023, "http://gw.example:8022", None),
        ({"tls": {"secretName": "tls"}}, 22, "https://gw.example", None),
        (
            {
                "tls": {"secretName": "tls"},
                "web": {"enabled": True},
                "service": {"ports": {"tls": 8443, "web": 9443}},
            },
            22,
            "https://gw.example:8443",
            "https://gw.example:9443",
        ),
        # The number of a NodePort that the cluster chooses is not known beforehand.
        ({"service": {"type": "NodePort"}}, None, None, None),
        (
            {"service": {"type": "NodePort", "nodePorts": {"ssh": 30222, "tunnel": 30022}}},
            30222,
            "http://gw.example:30022",
            None,
        ),
        (
            {
                "web": {
                    "enabled": True,
                    "path": "/stagedoor",
                    "forwardedFrom": ["10.42.0.0/16"],
                    "ingress": {"enabled": True, "host": "portal.example"},
                }
            },
            22,
            "http://gw.example:8022",
            "https://portal.example/stagedoor",
        ),
        (
            {
                "web": {"enabled": True},
                "public": {
                    "sshPort": 2200,
                    "tunnel": "https://a.example",
                    "web": "https://b.example",
                },
            },
            2200,
            "https://a.example",
            "https://b.example",
        ),
    ],
)
def test_the_gateway_is_told_how_people_reach_it(
    gateway: Manifest, port: int | None, tunnel: str | None, web: str | None
) -> None:
    settings = settings_of(render(APPS, gateway=gateway), "stagedoor-gateway")
    assert settings.ssh.public_port == port
    assert settings.tunnel.public_url == tunnel
    assert settings.web.public_url == web


def test_a_trial_has_one_replica_that_is_the_controller_too() -> None:
    objects = render(merged(TRIAL, APPS))
    assert [manifest["metadata"]["name"] for manifest in of_kind(objects, "Deployment")] == [
        "stagedoor-gateway"
    ]
    settings = settings_of(objects, "stagedoor-gateway")
    assert settings.kubernetes.controller
    assert settings.controller.kit_image is not None
    assert settings.store.url is None
    assert the(objects, "Deployment", "stagedoor-gateway")["spec"]["strategy"] == {
        "type": "Recreate"
    }
    assert of_kind(objects, "PodDisruptionBudget") == []


def test_without_namespaces_there_is_no_controller_and_no_right_anywhere() -> None:
    objects = render()
    kinds = {manifest["kind"] for manifest in objects}
    assert not kinds & {"Role", "ClusterRole", "RoleBinding", "ValidatingAdmissionPolicy"}
    [deployment] = of_kind(objects, "Deployment")
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("values", [APPS, EVERYTHING, merged(TRIAL, APPS), {}])
def test_every_pod_is_restricted_and_holds_no_more_keys_than_it_uses(values: Manifest) -> None:
    """Pod Security `restricted`, and above it: a read-only root."""
    objects = render(values)
    for deployment in of_kind(objects, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "requests" in container["resources"]
            assert "memory" in container["resources"]["limits"]
        for volume in pod["volumes"]:
            if deployment["metadata"]["name"].endswith("gateway") and "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], "no run's output fills the node"
                if volume["name"] == "state":
                    settings = settings_of(objects, deployment["metadata"]["name"])
                    assert settings.recording.keep_gib == 5, "nor do recordings end the pod"
        [main] = pod["containers"]
        keys = {mount["name"] for mount in main["volumeMounts"]} & {"user-ca", "host-ca"}
        inside = values.get("store", {}).get("sqlite", {}).get("enabled")
        if not inside:
            assert len(keys) == 1, "the gateway signs users, the controller hosts"


def test_uids_can_be_left_to_the_cluster() -> None:
    objects = render(merged(APPS, {"runAsUser": None}))
    for deployment in of_kind(objects, "Deployment"):
        security = deployment["spec"]["template"]["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & security.keys()
        # A uid that no /etc/passwd has, has no home: without one the SSH listener does not start.
        [main] = deployment["spec"]["template"]["spec"]["containers"]
        assert {"name": "HOME", "value": "/var/lib/stagedoor"} in main["env"]
    for name in ("stagedoor-gateway", "stagedoor-controller"):
        assert settings_of(objects, name).controller.kit_uid == 0
    own = the(render(APPS, runAsUser=1234), "Deployment", "stagedoor-gateway")
    assert own["spec"]["template"]["spec"]["securityContext"]["fsGroup"] == 1234
    assert settings_of(render(APPS), "stagedoor-controller").controller.kit_uid == 65532


def test_the_readme_s_values_are_taken() -> None:
    """Each YAML block of the chart's README is values that helm takes."""
    blocks = re.findall(r"^```yaml\n(.+?)^```$", (CHART / "README.md").read_text(), re.S | re.M)
    assert blocks
    for block in blocks:
        render(yaml.safe_load(block))


def test_prometheus_is_led_to_each_pod_s_metrics_and_to_nothing_else() -> None:
    objects = render(EVERYTHING)
    monitors = of_kind(objects, "ServiceMonitor")
    assert len(monitors) == 2
    for monitor in monitors:
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [
            manifest
            for manifest in of_kind(objects, "Service")
            if wanted <= manifest["metadata"]["labels"].items()
        ]
        [endpoint] = monitor["spec"]["endpoints"]
        [port] = service["spec"]["ports"]
        assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
        chosen = service["spec"]["selector"].items()
        [deployment] = [
            manifest
            for manifest in of_kind(objects, "Deployment")
            if chosen <= manifest["spec"]["template"]["metadata"]["labels"].items()
        ]
        name = deployment["metadata"]["name"]
        ports = [
            candidate
            for container in deployment["spec"]["template"]["spec"]["containers"]
            for candidate in container["ports"]
        ]
        [opened] = [candidate for candidate in ports if candidate["name"] == port["targetPort"]]
        assert settings_of(objects, name).health.address == f":{opened['containerPort']}"


def test_a_roll_out_takes_no_replica_away_before_a_new_one_is_there() -> None:
    objects = render(APPS, gateway={"drainSeconds": 100, "preStopSeconds": 7})
    spec = the(objects, "Deployment", "stagedoor-gateway")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = spec["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 107
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "7"]
    assert settings_of(objects, "stagedoor-gateway").workers.drain_timeout_s == 100
    [budget] = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1


def test_new_settings_are_a_roll_out_and_the_same_are_none() -> None:
    def template(**gateway: Any) -> Any:
        objects = render(APPS, gateway=gateway)
        return the(objects, "Deployment", "stagedoor-gateway")["spec"]["template"]

    assert template() == template()
    assert template(drainSeconds=10)["metadata"] != template()["metadata"]


def web(**values: Any) -> Manifest:
    return {"gateway": {"web": {"enabled": True, **values}}}


WRONG: list[tuple[Manifest, str]] = [
    ({"store": {"postgresql": {"url": ""}}}, "there is no store"),
    ({"store": {"sqlite": {"enabled": True}}}, "exclude each other"),
    (merged(TRIAL, {"gateway": {"replicas": 2}}), "set gateway.replicas=1"),
    ({"gateway": {"ssh": {"hostNames": []}}}, "gateway.ssh.hostNames is empty"),
    (
        {"gateway": {"ssh": {"enabled": False}, "service": {"ports": {"tunnel": None}}}},
        "the gateway listens on no port",
    ),
    ({"apps": {"namespaces": [{"name": "a"}, {"name": "b"}]}}, "twice"),
    ({"apps": {"namespaces": [{"name": "stagedoor"}]}}, "the release's own namespace"),
    ({"gateway": {"replica": 3}}, "replica"),
    ({"gateway": {"replicas": 0}}, "replicas"),
    ({"gateway": {"networks": ["10.0.0.0"]}}, "networks"),
    ({"gateway": {"service": {"externalTrafficPolicy": "Loc"}}}, "externalTrafficPolicy"),
    ({"apps": {"namespaces": [{"name": "Apps"}]}}, "name"),
    ({"apps": {"namespaces": [{"name": "a", "environment": "ssh"}]}}, "environment"),
    # A bare `n` in YAML.
    ({"apps": {"namespaces": [{"name": "a", "environment": False}]}}, "environment"),
    ({"store": {"postgresql": {"url": "postgresql://me:secret@db/x"}}}, "url"),
    ({"store": {"postgresql": {"url": "mysql://me@db/x"}}}, "url"),
    ({"image": {"digest": "sha256:1"}}, "digest"),
    ({"settings": {"ssh": 1}}, "ssh"),
    (web(enabled=False, ingress={"enabled": True}), "set gateway.web.enabled=true"),
    (web(ingress={"enabled": True}), "the Ingress has no name"),
    (
        web(domain="a.example", ingress={"enabled": True}),
        "gateway.web.forwardedFrom is empty",
    ),
    (
        web(domain="a.example", ingress={"host": "b.example"}),
        "leave gateway.web.ingress.host empty",
    ),
    (web(domain="a.example", path="/x"), "exclude each other"),
    (web(domain="UPPER.example"), "domain"),
    (web(path="/x/"), "path"),
    (web(origins=["portal.example"]), "origins"),
    (web(forwardedFrom=["10.0.0.1"]), "forwardedFrom"),
    ({"gateway": {"service": {"ports": {"web": 443}}}}, "passwords do not go in the clear"),
]


@pytest.mark.parametrize(("values", "said"), WRONG)
def test_wrong_values_are_refused_in_words(values: Manifest, said: str) -> None:
    message = refused(merged(VALUES, values))
    assert said in message
    assert "secret@" not in message


def test_helm_s_own_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", str(CHART), values=merged(VALUES, copy.deepcopy(EVERYTHING)))
    assert done.returncode == 0, done.stdout + done.stderr


WEB: Manifest = {
    "gateway": {
        "web": {
            "enabled": True,
            "domain": "shell.example.com",
            "origins": ["https://portal.example.com"],
            "forwardedFrom": ["10.9.0.0/16"],
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "annotations": {"a": "b"},
                "tlsSecretName": "wild",
            },
        }
    }
}


def test_the_webshell_has_a_service_of_its_own_and_an_ingress_for_every_app() -> None:
    objects = render(merged(APPS, WEB))
    settings = settings_of(objects, "stagedoor-gateway")
    assert settings.web.addresses == (":8088",)
    assert settings.web.tls_addresses == ()
    assert settings.web.domain == "shell.example.com"
    assert settings.web.origins == ("https://portal.example.com",)
    assert settings.web.forwarded_from == ("10.9.0.0/16",)
    service = the(objects, "Service", "stagedoor-web")["spec"]
    assert service["type"] == "ClusterIP", "it is plain HTTP"
    assert port_behind(objects, service["ports"][0]["targetPort"]) == 8088
    [policy] = of_kind(objects, "NetworkPolicy", "stagedoor-gateway")
    assert {"protocol": "TCP", "port": 8088} in policy["spec"]["ingress"][0]["ports"]
    ingress = the(objects, "Ingress", "stagedoor-web")
    assert ingress["metadata"]["annotations"] == {"a": "b"}
    assert ingress["spec"]["ingressClassName"] == "nginx"
    # A wildcard stands for one label, and app01.staging has two.
    names = ["shell.example.com", "*.shell.example.com", "*.staging.shell.example.com"]
    assert ingress["spec"]["tls"] == [{"hosts": names, "secretName": "wild"}]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == names
    balancer = the(objects, "Service", "stagedoor")["spec"]
    assert "web" not in {port["name"] for port in balancer["ports"]}


def test_of_other_pods_only_those_that_are_named_come_to_the_webshell_s_plain_http() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}}
    objects = render(merged(APPS, WEB), gateway={"web": {"allowFrom": [peer]}})
    [policy] = of_kind(objects, "NetworkPolicy", "stagedoor-gateway")
    plain = {"protocol": "TCP", "port": 8088}
    [rule] = [candidate for candidate in policy["spec"]["ingress"] if plain in candidate["ports"]]
    assert rule == {"from": [peer], "ports": [plain]}


def test_the_health_ports_are_for_those_alone_that_are_named() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    health = [{"protocol": "TCP", "port": 8080}]
    for values, allowed in (({}, {"namespaceSelector": {}}), ({"healthFrom": [peer]}, peer)):
        objects = render(APPS, fences=values)
        for part in ("gateway", "controller"):
            [policy] = of_kind(objects, "NetworkPolicy", f"stagedoor-{part}")
            rules = [rule for rule in policy["spec"]["ingress"] if rule["ports"] == health]
            assert rules == [{"from": [allowed], "ports": health}], part


def test_the_webshell_is_on_the_load_balancer_over_tls_only_and_below_a_path() -> None:
    web = {
        "enabled": True,
        "path": "/shell",
        "forwardedFrom": ["10.9.0.0/16"],
        "ingress": {"enabled": True, "host": "a.example"},
    }
    service = {"type": "NodePort", "ports": {"web": 8443}, "nodePorts": {"web": 30843}}
    objects = render(APPS, gateway={"web": web, "tls": {"secretName": "tls"}, "service": service})
    settings = settings_of(objects, "stagedoor-gateway")
    assert settings.web.tls_addresses == (":8444",)
    assert (settings.web.path, settings.web.domain) == ("/shell", None)
    ports = {port["name"]: port for port in the(objects, "Service", "stagedoor")["spec"]["ports"]}
    assert (ports["web"]["port"], ports["web"]["nodePort"]) == (8443, 30843)
    assert port_behind(objects, ports["web"]["targetPort"]) == 8444
    [policy] = of_kind(objects, "NetworkPolicy", "stagedoor-gateway")
    assert {"protocol": "TCP", "port": 8444} in policy["spec"]["ingress"][0]["ports"]
    [rule] = the(objects, "Ingress", "stagedoor-web")["spec"]["rules"]
    assert (rule["host"], rule["http"]["paths"][0]["path"]) == ("a.example", "/shell")


def test_without_the_webshell_there_is_nothing_of_it() -> None:
    objects = render(APPS)
    assert settings_of(objects, "stagedoor-gateway").web.addresses == ()
    assert of_kind(objects, "Ingress") == []
    assert of_kind(objects, "Service", "stagedoor-web") == []


def port_behind(objects: list[Manifest], name: str) -> int:
    [container] = the(objects, "Deployment", "stagedoor-gateway")["spec"]["template"]["spec"][
        "containers"
    ]
    [port] = [candidate for candidate in container["ports"] if candidate["name"] == name]
    return int(port["containerPort"])


LEAVING: Manifest = merged(APPS, {"apps": {"namespaces": [{"name": "apps"}], "leaving": ["gone"]}})


def test_a_namespace_that_shells_are_left_in_keeps_its_fences_and_the_controller_its_rights() -> (
    None
):
    objects = render(LEAVING)
    there = {
        (manifest["kind"], manifest["metadata"]["name"])
        for manifest in objects
        if manifest["metadata"].get("namespace") == "gone"
    }
    assert there == {
        ("NetworkPolicy", "stagedoor-shells"),
        ("Role", "stagedoor-controller"),
        ("RoleBinding", "stagedoor-controller"),
        ("ConfigMap", "stagedoor-apps"),
    }, "and the gateway none"
    assert settings_of(objects, "stagedoor-controller").kubernetes.leaving == ("gone",)
    gateway = settings_of(objects, "stagedoor-gateway").kubernetes
    assert (gateway.by_environment, gateway.leaving) == ({None: "apps"}, ())
    binding = the(objects, "ValidatingAdmissionPolicyBinding", "shells.stagedoor.stagedoor")
    (among,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert among["values"] == ["apps", "gone"]


def test_the_last_namespace_may_be_left_too() -> None:
    objects = render({"apps": {"namespaces": [], "leaving": ["gone"]}})
    wanted = settings_of(objects, "stagedoor-controller").kubernetes
    assert (wanted.by_environment, wanted.leaving) == ({}, ("gone",))
    the(objects, "Deployment", "stagedoor-controller")
    trial = render(merged(TRIAL, {"apps": {"namespaces": [], "leaving": ["gone"]}}))
    assert settings_of(trial, "stagedoor-gateway").kubernetes.leaving == ("gone",)


@pytest.mark.parametrize("values", [APPS, merged(APPS, TRIAL)], ids=["postgresql", "sqlite"])
def test_an_uninstall_stops_the_shells_first_as_the_account_that_may(values: Manifest) -> None:
    objects = render(values)
    job = the(objects, "Job", "stagedoor-stop-shells")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    pod = job["spec"]["template"]["spec"]
    part = pod["serviceAccountName"]
    assert pod["volumes"][0]["configMap"]["name"] == part
    wanted = settings_of(objects, part).kubernetes
    assert set(wanted.namespaces.values()) == {"apps", "apps-2"}
    bound = [
        manifest
        for manifest in of_kind(objects, "RoleBinding")
        if manifest["metadata"]["namespace"] == "apps"
    ]
    assert part in {
        manifest["subjects"][0]["name"]
        for manifest in bound
        if manifest["roleRef"]["name"].endswith("-controller")
    }
