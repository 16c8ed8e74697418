"""Manifests agree with each other, the images and the code."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from google.protobuf import text_format

from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.model_server.grpc_server import read_ssl_config
from rockstar_serving.model_server.server import GRACE_SECONDS
from tests.certificates import AUTHORITY, chain_of, issued, key_of
from tests.manifests import (
    K8S,
    OVERLAYS,
    ROOT,
    canary_release,
    config_map,
    container,
    fullest,
    kustomized,
    manifests,
    of_kind,
    pod,
)
from tfs_api.messages.model_server_config_pb2 import ModelServerConfig

NAME = "app.kubernetes.io/name"
ALL = [*((overlay, ()) for overlay in OVERLAYS), *fullest()]
# Default time to live of addresses in Kubernetes' DNS.
DNS_S = 30
# gRPC lets connections live up to a tenth longer than max_connection_age_ms.
JITTER = 1.1


@pytest.fixture(scope="module", params=ALL, ids=lambda each: "-".join([each[0], *each[1]]))
def applied(request):
    return manifests(*request.param)


def pods(documents):
    return {name: pod(documents, name) for name in of_kind(documents, "Deployment")}


def selected(documents, selector):
    """The deployments whose pods match a selector."""
    labels = selector["matchLabels"].items()
    return {
        n for n, each in pods(documents).items() if labels <= each["metadata"]["labels"].items()
    }


def ports(documents, deployment):
    return {
        each["name"]: each["containerPort"] for each in container(documents, deployment)["ports"]
    }


def test_everything_is_in_the_namespace(applied):
    (namespace,) = of_kind(applied, "Namespace")
    others = [each for each in applied if each["kind"] != "Namespace"]
    assert {each["metadata"]["namespace"] for each in others} == {namespace} == {"rockstartf"}


def test_applying_again_changes_nothing(applied):
    # `kubectl apply` and GitOps tools report a change where a cluster fills in these.
    for deployment in of_kind(applied, "Deployment").values():
        assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    for policy in of_kind(applied, "NetworkPolicy").values():
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            assert all("protocol" in port for port in rule.get("ports", []))


def test_selectors_find_pods(applied):
    for name, deployment in of_kind(applied, "Deployment").items():
        assert selected(applied, deployment["spec"]["selector"]) == {name}
        for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert selected(applied, spread["labelSelector"]) == {name}
    for name, service in of_kind(applied, "Service").items():
        assert selected(applied, {"matchLabels": service["spec"]["selector"]}) == {name}
    for name, budget in of_kind(applied, "PodDisruptionBudget").items():
        assert selected(applied, budget["spec"]["selector"]) == {name}
    for name, scaler in of_kind(applied, "HorizontalPodAutoscaler").items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == name
        # The autoscaler sets the number of pods; a number here would override it.
        assert "replicas" not in of_kind(applied, "Deployment")[name]["spec"]


def test_ports_have_the_names_they_are_called_by(applied):
    for name, service in of_kind(applied, "Service").items():
        for each in service["spec"]["ports"]:
            assert ports(applied, name)[each["targetPort"]] == each["port"]
            assert each["name"] == each["targetPort"]
    for name in pods(applied):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container(applied, name)[probe]["httpGet"]["port"] in ports(applied, name)
    for monitor in of_kind(applied, "ServiceMonitor").values():
        (service,) = [
            each
            for each in of_kind(applied, "Service").values()
            if monitor["spec"]["selector"]["matchLabels"].items()
            <= each["metadata"]["labels"].items()
        ]
        named = {each["name"] for each in service["spec"]["ports"]}
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= named


def test_references_exist(applied):
    made = {kind: set(of_kind(applied, kind)) for kind in ("ConfigMap", "ServiceAccount")}
    claims = set(of_kind(applied, "PersistentVolumeClaim"))
    issued = {each["spec"]["secretName"] for each in of_kind(applied, "Certificate").values()}
    for template in pods(applied).values():
        spec = template["spec"]
        assert spec["serviceAccountName"] in made["ServiceAccount"]
        volumes = {each["name"]: each for each in spec["volumes"]}
        for each in volumes.values():
            assert each.get("configMap", {}).get("name") in {None, *made["ConfigMap"]}
            assert each.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
            if "secret" in each and not each["secret"].get("optional"):
                assert each["secret"]["secretName"] in issued
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            assert {mount["name"] for mount in each["volumeMounts"]} <= volumes.keys()
            for source in each.get("envFrom", []):
                if "configMapRef" in source:
                    assert source["configMapRef"]["name"] in made["ConfigMap"]
                else:
                    assert source["secretRef"]["optional"]
    for ingress in of_kind(applied, "Ingress").values():
        for tls in ingress["spec"].get("tls", []):
            assert tls["secretName"] in issued


def test_pods_are_restricted(applied):
    (namespace,) = of_kind(applied, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for account in of_kind(applied, "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False
    for template in pods(applied).values():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert {"memory"} <= each["resources"]["limits"].keys()
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys()


def test_only_the_gateway_reaches_the_models(applied):
    policies = of_kind(applied, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    of_models = [
        each["spec"]
        for name, each in policies.items()
        if name != "default-deny"
        and "model-server" in selected(applied, each["spec"]["podSelector"])
    ]
    grpc = ports(applied, "model-server")["grpc"]
    callers = [
        source
        for spec in of_models
        for rule in spec.get("ingress", [])
        if grpc in [port["port"] for port in rule["ports"]]
        for source in rule["from"]
    ]
    own = {"podSelector": {"matchLabels": {NAME: "gateway"}}}
    assert own in callers
    # And, where clients may use gRPC, the proxies of the cluster's Gateway.
    assert len(callers) == 1 + len(of_kind(applied, "GRPCRoute"))


def test_a_rollout_waits_for_requests(applied):
    settings = config_map(applied, "gateway-settings")
    longest = float(settings["ROCKSTAR_MAX_REQUEST_TIMEOUT"])
    drain, grace = float(settings["ROCKSTAR_DRAIN"]), float(settings["ROCKSTAR_GRACE"])
    assert grace >= longest
    # The gateway's workers exit a second after their grace.
    assert pod(applied, "gateway")["spec"]["terminationGracePeriodSeconds"] > drain + grace + 1
    # Meanwhile two probes fail, and load balancers are updated.
    probe = container(applied, "gateway")["readinessProbe"]
    assert drain >= (probe["failureThreshold"] + 1) * probe["periodSeconds"]

    server = container(applied, "model-server")
    (age,) = re.findall(r"grpc\.max_connection_age_ms=(\d+)", " ".join(server["args"]))
    sleep = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep > JITTER * int(age) / 1000 + DNS_S + longest
    period = pod(applied, "model-server")["spec"]["terminationGracePeriodSeconds"]
    assert period > sleep + GRACE_SECONDS
    for deployment in of_kind(applied, "Deployment").values():
        update = deployment["spec"]["strategy"]["rollingUpdate"]
        # A node may have no GPU for one more pod.
        on_gpus = "replicas" in deployment["spec"]
        assert (update["maxSurge"], update["maxUnavailable"]) == ((0, 1) if on_gpus else (1, 0))


def test_the_gateway_finds_all_model_servers(applied):
    service = of_kind(applied, "Service")["model-server"]
    assert service["spec"]["clusterIP"] == "None"
    upstream = config_map(applied, "gateway-settings")["ROCKSTAR_UPSTREAM"]
    assert upstream == f"dns:///model-server:{ports(applied, 'model-server')['grpc']}"


def test_models_are_those_of_the_model_server(applied):
    config = config_map(applied, "tfserving-config")
    served = text_format.Parse(config["models.config"], ModelServerConfig())
    names = {each.name for each in served.model_config_list.config}
    assert set(config_map(applied, "gateway-settings")["ROCKSTAR_MODELS"].split()) == names
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container(applied, "model-server")[probe]["httpGet"]["path"]
        assert path.split("/")[3] in names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_configuration_is_the_very_files(overlay):
    config = config_map(manifests(overlay), "tfserving-config")
    files = ROOT / "serving" / "tfserving"
    for name in ("models.config", "monitoring.config"):
        assert config[name] == (files / name).read_text()
    batching, of_images = (
        dict(re.findall(r"^(\w+) { value: (\d+) }", text, re.MULTILINE))
        for text in (config["batching.config"], (files / "batching.config").read_text())
    )
    cpus = container(manifests(overlay), "model-server")["resources"]["limits"]["cpu"]
    assert batching == {**of_images, "num_batch_threads": cpus}


def test_dashboard_and_alerts_are_the_very_files():
    # The dashboard's name must not change, or Grafana keeps showing the old one.
    applied = manifests("cpu", ("monitoring",))
    dashboard = of_kind(applied, "ConfigMap")["rockstartf-dashboard"]["data"]["rockstartf.json"]
    assert dashboard == (ROOT / "monitoring" / "dashboard.json").read_text()
    alerts = yaml.safe_load((ROOT / "monitoring" / "alerts.yaml").read_text())
    (rule,) = of_kind(applied, "PrometheusRule").values()
    assert rule["spec"] == alerts
    # Alerts select the job name of the scrapes.
    (endpoint,) = of_kind(applied, "ServiceMonitor")["gateway"]["spec"]["endpoints"]
    (job,) = [each["replacement"] for each in endpoint["relabelings"]]
    assert f'job="{job}"' in str(alerts)


def test_images_are_of_this_version(applied):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {name: container(applied, name)["image"] for name in pods(applied)}
    targets = re.findall(r"FROM \S+ AS (\S+)", (ROOT / "Dockerfile.cpu").read_text())
    for image in images.values():
        repository, _, tag = image.partition(":")
        assert repository.removeprefix("ghcr.io/rockstartf/") in targets
        assert tag.removesuffix("-gpu") == version


def test_every_named_image_is_one_that_a_release_publishes():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    published = {
        f"ghcr.io/rockstartf/{each['target']}:{version}{each['suffix']}"
        for each in release["jobs"]["images"]["strategy"]["matrix"]["include"]
    }
    folders = ("kserve", "kserve/embedded", "training", "training/trainjob")
    texts = [str(manifests(overlay, ("tls",))) for overlay in OVERLAYS]
    texts += [kustomized(K8S / folder) for folder in folders]
    texts.append((ROOT / "compose.yaml").read_text())
    named = {name for text in texts for name in re.findall(r"ghcr\.io/rockstartf/[\w.:/-]+", text)}
    assert len(named) == 5
    assert named <= published


def test_the_ingress_has_all_paths_but_those_of_operators():
    (ingress,) = of_kind(manifests("cpu"), "Ingress").values()
    (rule,) = ingress["spec"]["rules"]
    exact = {each["path"] for each in rule["http"]["paths"] if each["pathType"] == "Exact"}
    prefixes = {each["path"] for each in rule["http"]["paths"] if each["pathType"] == "Prefix"}
    routes = {str(each) for each in create_app(GatewayConfig(models=("cnn",))).url_map.iter_rules()}
    kept = {
        route
        for route in routes
        if route not in exact and not any(f"{route}/".startswith(f"{each}/") for each in prefixes)
    }
    # TensorFlow Serving's clients never send /V1; the gateway accepts it only to reject it clearly.
    assert kept == {"/livez", "/readyz", "/metrics", "/V1/<path:path>"}
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert size == f"{GatewayConfig.max_body_bytes // 2**20}m"


def test_a_gpu_for_each_model_server():
    deployment = of_kind(manifests("gpu"), "Deployment")["model-server"]["spec"]
    spec = deployment["template"]["spec"]
    assert container(manifests("gpu"), "model-server")["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container(manifests("gpu"), "model-server")["image"].endswith("-gpu")
    # Many clusters have no labels for GPUs; the limit finds the nodes.
    assert "nodeSelector" not in spec
    assert "nvidia.com/gpu" in [each["key"] for each in spec["tolerations"]]
    # Kernels may be compiled at the first start.
    server = container(manifests("gpu"), "model-server")
    (cache,) = re.findall(
        r"^ENV CUDA_CACHE_PATH=(\S+)$", (ROOT / "Dockerfile.gpu").read_text(), re.MULTILINE
    )
    assert cache in [each["mountPath"] for each in server["volumeMounts"]]
    probe = server["startupProbe"]
    started = probe["periodSeconds"] * probe["failureThreshold"]
    assert 3600 <= started < deployment["progressDeadlineSeconds"]


def test_the_host_of_a_certificate_is_that_of_the_ingress():
    applied = manifests("cpu", ("tls",))
    (ingress,) = of_kind(applied, "Ingress").values()
    certificate = of_kind(applied, "Certificate")["gateway"]
    hosts = [rule["host"] for rule in ingress["spec"]["rules"]]
    assert hosts == certificate["spec"]["dnsNames"] == ingress["spec"]["tls"][0]["hosts"]


def test_gateways_and_model_servers_verify_each_other(tmp_path):
    """By certificates as cert-manager issues them: tls.key, tls.crt and ca.crt of a Secret."""
    applied = manifests("cpu", ("tls",))
    certificates = of_kind(applied, "Certificate")
    settings = config_map(applied, "gateway-settings")
    host = settings["ROCKSTAR_UPSTREAM"].removeprefix("dns:///").partition(":")[0]
    assert certificates["model-server"]["spec"]["dnsNames"] == [host]
    (mount,) = [
        each for each in container(applied, "gateway")["volumeMounts"] if each["name"] == "tls"
    ]
    files = {"CA": "ca.crt", "CERTIFICATE": "tls.crt", "KEY": "tls.key"}
    for name, file in files.items():
        assert settings[f"ROCKSTAR_UPSTREAM_{name}"] == f"{mount['mountPath']}/{file}"

    own = issued(host)
    contents = {"tls.key": key_of(own), "tls.crt": chain_of(own)}
    contents["ca.crt"] = AUTHORITY().cert_pem.bytes().decode()
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    (init,) = pod(applied, "model-server")["spec"]["initContainers"]
    program, *options, script = init["command"]
    assert program == "python"
    for each in init["volumeMounts"]:
        assert each["mountPath"] in script
        script = script.replace(each["mountPath"], str(tmp_path))
    subprocess.run([sys.executable, *options, script], check=True, timeout=30)
    (flag,) = [each for each in container(applied, "model-server")["args"] if "ssl" in each]
    written = read_ssl_config(tmp_path / flag.rpartition("/")[2])
    assert written.key.decode() == contents["tls.key"]
    assert written.certificate.decode() == contents["tls.crt"]
    assert written.authority == contents["ca.crt"].encode()


def test_the_ingress_controller_reaches_the_solver_of_certificates():
    policies = of_kind(manifests("cpu", ("tls",)), "NetworkPolicy")
    solver, gateway = policies["acme-solver"]["spec"], policies["gateway"]["spec"]
    assert solver["ingress"][0]["from"] == gateway["ingress"][0]["from"]


def backends(route):
    return [each for rule in route["spec"]["rules"] for each in rule["backendRefs"]]


def test_routes_lead_to_services_of_the_release(applied):
    services = of_kind(applied, "Service")
    for kind in ("HTTPRoute", "GRPCRoute"):
        for route in of_kind(applied, kind).values():
            for each in backends(route):
                assert each["port"] in [
                    port["port"] for port in services[each["name"]]["spec"]["ports"]
                ]


def test_the_route_has_the_paths_of_the_ingress():
    applied = manifests("cpu", ("gateway-api",))
    (ingress,) = of_kind(applied, "Ingress").values()
    (route,) = of_kind(applied, "HTTPRoute").values()
    types = {"Exact": "Exact", "Prefix": "PathPrefix"}
    (rule,) = route["spec"]["rules"]
    assert [(each["path"]["type"], each["path"]["value"]) for each in rule["matches"]] == [
        (types[each["pathType"]], each["path"])
        for each in ingress["spec"]["rules"][0]["http"]["paths"]
    ]


def test_clients_of_model_servers_can_only_predict():
    applied = manifests("cpu", ("gateway-api", "gateway-api-grpc"))
    (grpc,) = of_kind(applied, "GRPCRoute").values()
    (http,) = of_kind(applied, "HTTPRoute").values()
    (rule,) = grpc["spec"]["rules"]
    # ModelService, at the same port, can load other models.
    assert [each["method"] for each in rule["matches"]] == [
        {"service": "tensorflow.serving.PredictionService"}
    ]
    # One host would be a conflict.
    assert not set(grpc["spec"]["hostnames"]) & set(http["spec"]["hostnames"])


def test_a_canary_release_gets_a_share_of_the_requests():
    stable = manifests("cpu", ("gateway-api", "gateway-api-canary"))
    canary = list(yaml.safe_load_all(canary_release()))
    (namespace,) = of_kind(canary, "Namespace")
    assert {each["metadata"].get("namespace", namespace) for each in canary} == {namespace}
    assert not of_kind(canary, "Ingress")

    (route,) = of_kind(stable, "HTTPRoute").values()
    first, second = backends(route)
    assert (first["weight"], second["weight"]) == (90, 10)
    assert "namespace" not in first
    assert second["namespace"] == namespace
    (grant,) = of_kind(canary, "ReferenceGrant").values()
    assert grant["spec"]["from"][0]["namespace"] == route["metadata"]["namespace"]
    assert grant["spec"]["to"][0]["name"] == second["name"]

    # Prometheus compares both.
    monitored = manifests("cpu", ("monitoring",))
    for monitor in of_kind(monitored, "ServiceMonitor").values():
        names = monitor["spec"]["namespaceSelector"]["matchNames"]
        assert names == [route["metadata"]["namespace"], namespace]
    policies = [
        of_kind(each, "NetworkPolicy")["monitoring"]["spec"] for each in (monitored, canary)
    ]
    assert policies[0] == policies[1]


def test_keda_scales_as_the_autoscalers_do():
    autoscaler = of_kind(manifests("cpu", ("autoscale-inflight",)), "HorizontalPodAutoscaler")[
        "gateway"
    ]["spec"]
    applied = manifests("cpu", ("autoscale-keda", "monitoring"))
    assert "gateway" not in of_kind(applied, "HorizontalPodAutoscaler")
    scaled = of_kind(applied, "ScaledObject")["gateway"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == autoscaler["scaleTargetRef"]["name"]
    assert scaled["minReplicaCount"] == autoscaler["minReplicas"]
    assert scaled["maxReplicaCount"] == autoscaler["maxReplicas"]
    config = scaled["advanced"]["horizontalPodAutoscalerConfig"]
    assert config["behavior"] == autoscaler["behavior"]
    cpu, in_flight = scaled["triggers"]
    by_cpu, by_requests = autoscaler["metrics"]
    assert int(cpu["metadata"]["value"]) == by_cpu["resource"]["target"]["averageUtilization"]
    assert in_flight["metadata"]["threshold"] == by_requests["pods"]["target"]["averageValue"]
    assert by_requests["pods"]["metric"]["name"] in in_flight["metadata"]["query"]


def test_a_patch_replaces_a_file_of_a_component(tmp_path):
    (shown,) = re.findall(
        r"```yaml\n(patches:\n  - patch: .*?)```", (K8S / "README.md").read_text(), re.DOTALL
    )
    k8s = os.path.relpath(K8S, tmp_path.resolve())
    kustomization = {
        "resources": [f"{k8s}/overlays/embedded"],
        "components": [f"{k8s}/components/canary"],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization) + shown)
    routes = config_map(list(yaml.safe_load_all(kustomized(tmp_path))), "gateway-routes")
    assert tomllib.loads(routes["routes.toml"])["models"]["pets"]["split"][0]["weight"] == 95


def test_another_namespace_is_everywhere(tmp_path):
    (shown,) = re.findall(
        r"```yaml\n(namespace: .*?)```", (K8S / "README.md").read_text(), re.DOTALL
    )
    k8s = os.path.relpath(K8S, tmp_path.resolve())
    folders = [f"components/{each}" for each in ("monitoring", "autoscale-keda", "gateway-api")]
    kustomization = {
        "resources": [f"{k8s}/overlays/embedded"],
        "components": [f"{k8s}/{each}" for each in folders],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization) + shown)
    applied = list(yaml.safe_load_all(kustomized(tmp_path)))
    namespaces = {each["metadata"].get("namespace") for each in applied}
    assert namespaces == {None, "pets"}
    assert "pets" in of_kind(applied, "Namespace")
    _, in_flight = of_kind(applied, "ScaledObject")["gateway"]["spec"]["triggers"]
    assert '{namespace="pets"}' in in_flight["metadata"]["query"]
    for monitor in of_kind(applied, "ServiceMonitor").values():
        assert monitor["spec"]["namespaceSelector"]["matchNames"] == ["pets", "rockstartf-canary"]
