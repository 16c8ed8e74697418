"""charts/rockstartf: Helm's library renders it, and the result is that of the kustomize overlays."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format

from tests.charts import (
    CHART,
    HTTP,
    MONITORING,
    ONLY_HERE,
    SAME,
    documents,
    helm,
    rendered_charts,
    values_of,
)
from tests.http_servers import Handler, handled_by
from tests.manifests import ROOT, Manifest, manifests, of_kind
from tests.oci_registry import oci_registry
from tests.unit.k8s.test_combinations import OLDEST
from tfs_api.messages.model_server_config_pb2 import ModelServerConfig


@pytest.fixture(scope="module")
def run(pytestconfig):
    """Runs requests of tests/helm_sdk.py."""
    return helm(pytestconfig)


@pytest.fixture(scope="module")
def charts(pytestconfig):
    """The rendered files of each set of values."""
    return rendered_charts(pytestconfig)


def of_release(files: dict[str, str]) -> list[Manifest]:
    """The manifests of rendered files that are not hooks."""
    return [
        each
        for each in documents(files)
        if "helm.sh/hook" not in each["metadata"].get("annotations", {})
    ]


@pytest.mark.parametrize("name", SAME)
def test_the_chart_equals_kustomize(charts, name):
    overlay, components, _ = SAME[name]
    ours, theirs = comparable(of_release(charts[name])), comparable(manifests(overlay, components))
    # The chart must not create its namespace, nor deny the traffic of other pods in it.
    del theirs["Namespace", "rockstartf"], theirs["NetworkPolicy", "default-deny"]
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        assert ours[key] == expected, key


def comparable(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """Manifests by kind and name, without the intended differences between chart and overlays."""
    text = json.dumps(manifests)
    # Names begin with the release here, and those of ConfigMaps end with a hash there.
    for name in {each["metadata"]["name"] for each in manifests}:
        own = re.sub("^rockstartf-(?!dashboard)", "", name)
        if name.startswith(
            ("tfserving-config-", "gateway-settings-", "gateway-routes-", "model-storage-")
        ):
            own = name.rpartition("-")[0]
        text = text.replace(f'"{name}"', f'"{own}"')
    text = re.sub('"rockstartf-(models|authority-tls|[a-z-]+-tls)"', r'"\1"', text)
    text = text.replace("dns:///rockstartf-", "dns:///")
    # Several releases may be in a namespace.
    text = text.replace(r",service=\"rockstartf-gateway\"", "")
    found = {}
    for each in json.loads(text):
        metadata = each["metadata"]
        metadata.pop("namespace", None)
        without(metadata, "annotations", "helm.sh/resource-policy")
        drop_labels(each)
        if each["kind"] == "Deployment":
            of_pods(each["spec"]["template"])
        elif metadata["name"] == "gateway-api-grpc":
            # The chart has one list of namespaces for all routes.
            del each["spec"]["ingress"][0]["from"]
        elif each["kind"] == "ServiceMonitor":
            # The overlays' monitors include a canary's namespace.
            each["spec"].pop("namespaceSelector", None)
        elif each["kind"] == "ConfigMap" and metadata["name"] == "tfserving-config":
            each["data"] = parsed(each["data"])
        elif each["kind"] == "ConfigMap":
            each["data"] = {name: value.rstrip("\n") for name, value in each["data"].items()}
        found[each["kind"], metadata["name"]] = each
    return found


def without(value: dict[str, Any], field: str, *keys: str) -> None:
    """Remove keys of a field, and the field if it becomes empty."""
    for key in keys:
        value.get(field, {}).pop(key, None)
    if not value.get(field, True):
        del value[field]


def drop_labels(value: Any) -> None:
    """Remove the labels that only one side has, wherever they are."""
    if isinstance(value, dict):
        for key in ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"):
            value.pop(key, None)
        value.pop("app.kubernetes.io/version", None)
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            drop_labels(each)


def of_pods(template: Manifest) -> None:
    # A hash in an annotation here, in the name of the ConfigMap there.
    without(template["metadata"], "annotations", "checksum/settings", "checksum/config")
    spec = template["spec"]
    (container,) = spec["containers"]
    # The overlays have an optional Secret for API keys, the chart has one when there are keys.
    container["envFrom"] = [
        each for each in container.get("envFrom", []) if "secretRef" not in each
    ]
    for each, key in ((spec, "volumes"), (container, "volumeMounts")):
        each[key] = sorted(
            (item for item in each[key] if item["name"] != "keys"), key=lambda item: item["name"]
        )
    container["args"] = sorted(container.get("args", []))
    for init in spec.get("initContainers", []):
        # Optional there, and here if it is given.
        for source in init.get("envFrom", []):
            source.get("secretRef", {}).pop("optional", None)


def parsed(data: dict[str, str]) -> dict[str, Any]:
    """The configuration of the model servers without comments and order."""
    models = text_format.Parse(data["models.config"], ModelServerConfig()).model_config_list
    return {
        "models": sorted(text_format.MessageToString(each) for each in models.config),
        "batching": dict(
            re.findall(r"^(\w+) \{ value: (\d+) \}", data["batching.config"], re.MULTILINE)
        ),
        "monitoring": data["monitoring.config"].strip(),
    }


def test_the_linter_finds_nothing(run):
    reports = run(
        *({"lint": str(CHART), "values": values_of(name)} for name in [*SAME, *ONLY_HERE])
    )
    for report in reports:
        assert report["errors"] == []
        assert [each["error"] for each in report["messages"]] in ([], ["icon is recommended"])


def test_a_package_renders_as_the_folder(run, charts, tmp_path):
    (package,) = run({"package": str(CHART), "to": str(tmp_path)})
    # Helm replaces links with their files.
    with tarfile.open(package) as archive:
        assert all(each.isfile() for each in archive)
        content = archive.extractfile("rockstartf/files/dashboard.json").read()
    assert content == (ROOT / "monitoring" / "dashboard.json").read_bytes()
    (rendered,) = run({"render": package, "values": values_of("gateway-api")})
    assert rendered == charts["gateway-api"]


def test_a_registry_stores_the_chart(run, tmp_path):
    (package,) = run({"package": str(CHART), "to": str(tmp_path)})
    with oci_registry(tmp_path / "registry") as address:
        _, pulled = run(
            {"push": package, "to": f"oci://{address}/charts"},
            {
                "pull": f"oci://{address}/charts/rockstartf",
                "version": "0.1.0",
                "to": str(tmp_path / "registry"),
            },
        )
    assert "error" not in pulled
    assert (tmp_path / "registry" / Path(package).name).read_bytes() == Path(package).read_bytes()


def test_an_installation_without_a_cluster_shows_what_it_would_do(run):
    (release,) = run({"install": str(CHART)})
    assert release["status"] == "pending-install"
    assert "kind: Deployment" in release["manifest"]
    assert "port-forward service/rockstartf-gateway" in release["notes"]


def test_versions_are_those_of_the_project():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{chart["version"]}"\n' in project
    assert chart["version"] == chart["appVersion"]
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


def test_a_release_sets_digests_of_images_that_the_chart_names():
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    published = {
        each["target"] + each["suffix"]
        for each in release["images"]["strategy"]["matrix"]["include"]
    }
    script = "".join(step.get("run", "") for step in release["chart"]["steps"])
    pairs = dict(re.findall(r"(\w+):([\w-]+)(?=[ ;])", script))
    images = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    assert pairs.keys() == {key for key in images if isinstance(images[key], dict)}
    assert set(pairs.values()) <= published
    for key, image in pairs.items():
        assert image.removesuffix("-gpu") == images[key]["repository"]


def test_cpus_set_every_number_of_threads(charts):
    applied = documents(charts["all"])
    deployment = of_kind(applied, "Deployment")["digits-model-server"]
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert server["resources"]["limits"]["cpu"] == "8"
    assert {each for each in server["args"] if "parallelism" in each} == {
        "--tensorflow_intra_op_parallelism=8",
        "--tensorflow_inter_op_parallelism=8",
    }
    config = of_kind(applied, "ConfigMap")["digits-tfserving-config"]["data"]
    assert "num_batch_threads { value: 8 }" in config["batching.config"]
    # A MIG slice in place of a GPU.
    assert server["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 1


def test_times_follow_the_longest_request(charts):
    applied = documents(charts["all"])
    pod = of_kind(applied, "Deployment")["digits-model-server"]["spec"]["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep == 45 + 61
    assert pod["terminationGracePeriodSeconds"] > sleep
    settings = of_kind(applied, "ConfigMap")["digits-gateway-settings"]["data"]
    # Not 1e+08.
    assert settings["ROCKSTAR_MAX_BODY_BYTES"] == "100000000"
    assert settings["ROCKSTAR_MAX_REQUEST_TIMEOUT"] == "60.5"


def test_helm_test_reaches_the_gateways(charts):
    release = of_release(charts["embedded"])
    hooks = [each for each in documents(charts["embedded"]) if each not in release]
    pod, policy = of_kind(hooks, "Pod")["rockstartf-test"], of_kind(hooks, "NetworkPolicy")
    (allowed,) = policy["rockstartf-test"]["spec"]["ingress"][0]["from"]
    assert allowed["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    *command, url = container["command"]
    assert url == "http://rockstartf-gateway:8080/readyz"

    # As long as the network plugin does not know the pod, it reaches nothing.
    statuses = iter([503, 200])

    class Gateway(Handler):
        def do_GET(self):  # noqa: N802
            self.respond(next(statuses))

    with handled_by(Gateway) as address:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run([*command, address], env={"PATH": path}, check=True, timeout=60)
    assert next(statuses, None) is None


def test_notes_tell_how_to_predict_and_what_is_open(charts):
    notes = {name: files["rockstartf/templates/NOTES.txt"] for name, files in charts.items()}
    assert "port-forward service/rockstartf-gateway 8080" in notes["keys"]
    assert "https://predict.example.org/predict/cnn" in notes["tls-keda-volume"]
    assert "There are no API keys" in notes["embedded"]
    assert "There are no API keys" not in notes["keys"]


def test_a_cluster_may_assign_users(charts):
    for deployment in of_kind(documents(charts["openshift"]), "Deployment").values():
        context = deployment["spec"]["template"]["spec"]["securityContext"]
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_names_of_long_releases_fit(run):
    # Helm allows 53 characters, Kubernetes 63 in the name of a Service.
    (files,) = run({"render": str(CHART), "name": "a" * 53})
    assert max(len(name) for name in of_kind(documents(files), "Service")) <= 63


def test_names_of_releases_become_those_of_services(run):
    dotted, digit = run(*({"render": str(CHART), "name": name} for name in ("v1.2", "2nd")))
    assert "v1-2-gateway" in of_kind(documents(dotted), "Service")
    assert "names of Services start with a letter" in digit["error"]


def test_more_memory_raises_the_limit(run):
    values = {"modelServer": {"requests": {"memory": "3Gi"}}}
    (files,) = run({"render": str(CHART), "values": values})
    deployment = of_kind(documents(files), "Deployment")["rockstartf-model-server"]
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert server["resources"]["limits"]["memory"] == "3Gi"


def test_another_release_gets_a_share_of_the_requests(run):
    share = {"weight": 10, "namespace": "rockstartf-canary", "service": "canary-gateway"}
    stable, canary = run(
        {"render": str(CHART), "values": {"httpRoute": {**HTTP, "canary": share}}},
        {
            "render": str(CHART),
            "name": "canary",
            "namespace": "rockstartf-canary",
            "values": {"httpRoute": {"acceptRoutesFrom": "rockstartf"}},
        },
    )
    (rule,) = of_kind(documents(stable), "HTTPRoute")["rockstartf-gateway"]["spec"]["rules"]
    own, other = rule["backendRefs"]
    assert (own["weight"], other["weight"]) == (90, 10)
    assert other["name"] in of_kind(documents(canary), "Service")
    assert not of_kind(documents(canary), "HTTPRoute")
    (grant,) = of_kind(documents(canary), "ReferenceGrant").values()
    assert grant["spec"]["to"][0]["name"] == other["name"]
    assert grant["spec"]["from"][0]["namespace"] == "rockstartf"


def test_new_keys_need_no_rollout(run):
    settings = [{"apiKeys": {"toml": text}} for text in ("a = 1", "b = 1")]
    first, second = run(*({"render": str(CHART), "values": values} for values in settings))
    assert of_kind(documents(first), "Deployment") == of_kind(documents(second), "Deployment")


@pytest.mark.parametrize("values", [{"fullnameOverride": "other"}, {}])
def test_two_releases_share_no_names(run, values):
    first, second = run(
        {"render": str(CHART), "values": {**MONITORING, "ingress": {"enabled": True}}},
        {
            "render": str(CHART),
            "values": {**MONITORING, "ingress": {"enabled": True}, **values},
            "name": "second",
        },
    )
    names = [
        {(each["kind"], each["metadata"]["name"]) for each in documents(files)}
        for files in (first, second)
    ]
    assert not names[0] & names[1]
    for deployment in of_kind(documents(second), "Deployment").values():
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector["app.kubernetes.io/instance"] == "second"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    ({"gateway": None}, "missing property 'gateway'"),
    ({"modelServer": {"variant": "gpu"}}, "one of 'embedded', 'tfserving-cpu', 'tfserving-gpu'"),
    ({"gateway": {"cpus": "2"}}, "at '/gateway/cpus': got string, want integer"),
    ({"gateway": {"memoryLimit": "1.5GB"}}, "at '/gateway/memoryLimit': '1.5GB' does not match"),
    (
        {"gateway": {"settings": {"ROCKSTAR_MODELS": "cnn"}}},
        "the chart sets it, from the value models",
    ),
    ({"gateway": {"settings": {"WORKERS": 1}}}, "invalid propertyName 'WORKERS'"),
    ({"gateway": {"autoscaling": {"kind": "keda"}}}, "requestsInFlight': minimum: got 0, want 1"),
    ({"gateway": {"autoscaling": {"minReplicas": 20}}}, "minReplicas is 20, above maxReplicas, 10"),
    ({"models": []}, "at '/models': minItems: got 0, want 1"),
    ({"models": "cnn"}, "at '/models': got string, want array"),
    ({"modelStorage": {"source": "s3"}}, "one of 'image', 'pvc', 'bucket', 'images'"),
    ({"modelStorage": {"source": "bucket"}}, "bucket/versions': minItems: got 0, want 1"),
    (
        {"modelStorage": {"source": "bucket", "bucket": {"versions": ["s3://models/cnn"]}}},
        "at '/modelStorage/bucket/versions/0': 's3://models/cnn' does not match",
    ),
    ({"modelStorage": {"source": "images"}}, "modelStorage.images: there is no image for logistic"),
    (
        {"images": {"gateway": {"digest": "abc"}}},
        "at '/images/gateway/digest': 'abc' does not match",
    ),
    ({"ingress": {"host": "https://example.org/"}}, "at '/ingress/host'"),
    ({"ingress": {"enabled": True, "tls": {"secretName": "tls"}}}, "ingress.host: set the host"),
    ({"httpRoute": {"enabled": True}}, "at '/httpRoute/parentRefs': minItems: got 0, want 1"),
    (
        {"httpRoute": {**HTTP, "canary": {"weight": 10}}},
        "httpRoute.canary.service: name the Service",
    ),
    ({"grpcRoute": HTTP, "tls": {"enabled": True}}, "grpcRoute.enabled: not with tls.enabled"),
    ({"grpcRoute": HTTP, "httpRoute": HTTP}, "predict.example.org is also in httpRoute.hostnames"),
    ({"apiKeys": {"toml": "a", "existingSecret": "b"}}, "apiKeys: set toml or existingSecret"),
    ({"tls": {"enabled": True, "certManager": False}}, "at '/tls/gatewaySecret': minLength"),
]


def test_wrong_values_are_explained(run):
    results = run(*({"render": str(CHART), "values": values} for values, _ in WRONG))
    for (values, expected), answer in zip(WRONG, results, strict=True):
        assert expected in answer.get("error", ""), values


def test_a_chart_that_contains_this_one_may_set_global_values(run, tmp_path):
    parent = tmp_path / "parent"
    (parent / "charts").mkdir(parents=True)
    (parent / "charts" / "rockstartf").symlink_to(CHART)
    dependency = {"name": "rockstartf", "version": "0.1.0", "condition": "rockstartf.enabled"}
    chart = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))
    (parent / "values.yaml").write_text("global: {a: 1}\nrockstartf: {enabled: true}\n")
    (rendered,) = run({"render": str(parent), "name": "digits"})
    assert of_kind(documents(rendered), "Deployment").keys() == {
        "digits-gateway",
        "digits-model-server",
    }


def test_the_values_that_are_shown_render(run):
    (shown,) = re.findall(
        r"```yaml\n(models: .*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL
    )
    (rendered,) = run({"render": str(CHART), "values": yaml.safe_load(shown)})
    applied = documents(rendered)
    assert of_kind(applied, "HTTPRoute")["rockstartf-gateway"]["spec"]["hostnames"]
    volumes = of_kind(applied, "Deployment")["rockstartf-model-server"]["spec"]["template"]["spec"]
    (claim,) = [
        each["persistentVolumeClaim"] for each in volumes["volumes"] if each["name"] == "models"
    ]
    assert claim["claimName"] == "models"


def test_the_readme_has_every_value():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = (CHART / "README.md").read_text()
    assert [name for name in values if f"| `{name}" not in text] == []


def test_every_value_is_in_the_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert paths(yaml.safe_load((CHART / "values.yaml").read_text()), schema) == []


def paths(values: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """The values without an entry in a schema."""
    missing = []
    for name, value in values.items():
        if name not in schema["properties"]:
            missing.append(name)
        elif isinstance(value, dict) and "properties" in schema["properties"][name]:
            missing += [f"{name}.{each}" for each in paths(value, schema["properties"][name])]
    return missing
