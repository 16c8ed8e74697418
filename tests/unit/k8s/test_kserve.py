"""k8s/kserve: the names and ports with which KServe's transformer finds its predictor."""

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rockstar_serving.gateway.kserve import transformer
from rockstar_serving.model_server.server import GRACE_SECONDS
from tests.environments import environment
from tests.manifests import by_kind_and_name

SAID_BY_KSERVE = (
    "--model_name",
    "cnn",
    "--predictor_host",
    "cnn-predictor.ns",
    "--http_port",
    "8080",
)


@pytest.fixture(scope="module")
def manifests():
    return by_kind_and_name("k8s/kserve")


def settings_of(output: str) -> dict[str, str]:
    lines = [line.partition("  #")[0].partition("=") for line in output.splitlines()]
    return {name: value.strip() for name, _, value in lines}


def test_arguments_of_kserve_become_settings(monkeypatch):
    done = CliRunner().invoke(transformer, ["--print-config", *SAID_BY_KSERVE])
    assert done.exit_code == 0, done.output
    said = settings_of(done.output)
    assert said["ROCKSTAR_UPSTREAM"] == "dns:///cnn-predictor.ns:8500"
    assert said["ROCKSTAR_MODELS"] == "cnn"
    assert said["ROCKSTAR_BIND"] == "0.0.0.0:8080"
    assert said["ROCKSTAR_WORKERS"] == "2"


def test_the_gateways_own_options_go_before():
    options = ["--workers", "3", "--predictor_grpc_port=9000", "--model", "other", "--threads=8"]
    done = CliRunner().invoke(transformer, ["--print-config", *options, *SAID_BY_KSERVE])
    assert done.exit_code == 0, done.output
    said = settings_of(done.output)
    assert said["ROCKSTAR_UPSTREAM"] == "dns:///cnn-predictor.ns:9000"
    assert (said["ROCKSTAR_WORKERS"], said["ROCKSTAR_THREADS"]) == ("3", "8")
    assert said["ROCKSTAR_MODELS"] == "cnn other"


def test_an_unknown_option():
    done = CliRunner().invoke(transformer, [*SAID_BY_KSERVE, "--log-formt=json"])
    assert done.exit_code == 2
    assert "--log-formt" in done.output
    assert "--log-format" in done.output


def test_the_transformer_calls_the_predictors_address(manifests):
    service = manifests["InferenceService", "cnn"]["spec"]
    runtime = manifests["ServingRuntime", service["predictor"]["model"]["runtime"]]["spec"]
    (server,) = runtime["containers"]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    (gateway,) = service["transformer"]["containers"]
    done = CliRunner().invoke(
        transformer, ["--print-config", *gateway.get("args", []), *SAID_BY_KSERVE]
    )
    # KServe's Services change only the number of the first port.
    assert settings_of(done.output)["ROCKSTAR_UPSTREAM"].endswith(f":{ports['grpc']}")
    assert f"--port={ports['grpc']}" in server["args"]
    assert f"--rest_api_port={ports['http']}" in server["args"]
    assert server["ports"][0]["name"] == "http"
    assert gateway["command"] == ["python", "-m", transformer.callback.__module__]
    assert {server["name"], gateway["name"]} == {"kserve-container"}
    model_format = service["predictor"]["model"]["modelFormat"]
    assert model_format in runtime["supportedModelFormats"]


def test_a_pod_is_given_the_time_that_its_gateway_takes_to_stop(manifests):
    transformer = manifests["InferenceService", "cnn"]["spec"]["transformer"]
    (gateway,) = transformer["containers"]
    settings = {each["name"]: each["value"] for each in gateway["env"]}
    seconds = float(settings["ROCKSTAR_DRAIN"]) + float(settings["ROCKSTAR_GRACE"])
    assert transformer["terminationGracePeriodSeconds"] > seconds


def test_gateway_and_model_server_are_those_of_the_base(manifests):
    """Sizes, and other requirements of every rollout."""
    base = by_kind_and_name("k8s/overlays/cpu")
    service = manifests["InferenceService", "cnn"]["spec"]
    pods = {
        "gateway": (service["transformer"], service["transformer"]["containers"][0]),
        "model-server": (
            service["predictor"],
            manifests["ServingRuntime", "rockstartf"]["spec"]["containers"][0],
        ),
    }
    for name, (spec, container) in pods.items():
        expected = base["Deployment", name]["spec"]["template"]["spec"]
        for field in ("resources", "securityContext", "lifecycle"):
            assert container.get(field) == expected["containers"][0].get(field), (name, field)
        for field in ("securityContext", "terminationGracePeriodSeconds"):
            assert spec[field] == expected[field], (name, field)
    (settings,) = [
        each["data"] for (kind, name), each in base.items() if name.startswith("gateway-settings")
    ]
    (gateway,) = service["transformer"]["containers"]
    for each in gateway["env"]:
        assert settings[each["name"]] == each["value"]


@pytest.fixture(scope="module")
def embedded():
    return by_kind_and_name("k8s/kserve/embedded")


def test_the_embedded_runtime_exposes_the_gateway_and_grpc(embedded):
    runtime = embedded["ClusterServingRuntime", "rockstartf-embedded"]["spec"]
    server, gateway = runtime["containers"]
    # KServe mounts models into the first, and makes the Service of the second one's ports.
    assert [server["name"], gateway["name"]] == ["kserve-container", "transformer-container"]
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    settings = {each["name"]: each["value"] for each in gateway["env"]}
    assert next(iter(ports)) == "http"
    assert settings["ROCKSTAR_BIND"].endswith(f":{ports['http']}")
    assert settings["ROCKSTAR_UPSTREAM"] == f"127.0.0.1:{ports['grpc']}"
    assert f"--port={ports['grpc']}" in server["args"]
    assert "ports" not in server
    service = embedded["InferenceService", "cnn"]["spec"]["predictor"]
    (known,) = runtime["supportedModelFormats"]
    assert service["model"]["modelFormat"].items() <= known.items()


def test_the_embedded_runtimes_server_outlives_its_gateway(embedded):
    server, gateway = embedded["ClusterServingRuntime", "rockstartf-embedded"]["spec"]["containers"]
    settings = {each["name"]: each["value"] for each in gateway["env"]}
    stopped = float(settings["ROCKSTAR_DRAIN"]) + float(settings["ROCKSTAR_GRACE"]) + 1
    sleep = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    predictor = embedded["InferenceService", "cnn"]["spec"]["predictor"]
    assert stopped < sleep < predictor["terminationGracePeriodSeconds"] - GRACE_SECONDS


def test_the_embedded_runtimes_containers_are_those_of_the_overlay(embedded):
    containers = embedded["ClusterServingRuntime", "rockstartf-embedded"]["spec"]["containers"]
    base = by_kind_and_name("k8s/overlays/embedded")
    for name, container in zip(("model-server", "gateway"), containers, strict=True):
        (expected,) = base["Deployment", name]["spec"]["template"]["spec"]["containers"]
        for field in ("image", "resources", "securityContext"):
            assert container[field] == expected[field], (name, field)
    (settings,) = [
        each["data"] for (kind, name), each in base.items() if name.startswith("gateway-settings")
    ]
    ours = {each["name"]: each["value"] for each in containers[1]["env"]}
    assert ours.keys() == settings.keys()
    assert {name for name in ours if ours[name] != settings[name]} == {
        "ROCKSTAR_UPSTREAM",
        "ROCKSTAR_MODELS",
    }


@pytest.mark.parametrize("folder", ["k8s/kserve", "k8s/kserve/embedded"])
def test_every_field_is_one_that_kserve_knows(folder, pytestconfig):
    """Check documents against the classes of KServe's Python client."""
    interpreter = environment(pytestconfig, "kserve", ["--no-deps", "kserve==0.21.0"])
    (models,) = interpreter.parents[1].glob("lib/python*/site-packages/kserve/models")
    fields = {}
    for file in models.glob("*.py"):
        fields |= fields_by_class(file)
    found = [
        (kind, unknown_fields(document, classes[0], fields))
        for (kind, _), document in by_kind_and_name(folder).items()
        if (classes := [each for each in fields if re.fullmatch(rf"V1(alpha|beta)1{kind}", each)])
    ]
    assert len(found) == 2
    assert [unknown for _, unknown in found] == [[], []]


def fields_by_class(file: Path) -> dict[str, dict[str, str]]:
    """The fields of a class as named in documents, with their types."""
    found = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef):
            tables = {
                target.id: ast.literal_eval(each.value)
                for each in node.body
                if isinstance(each, ast.Assign)
                and isinstance(target := each.targets[0], ast.Name)
                and target.id in ("openapi_types", "attribute_map")
            }
            if len(tables) == 2:
                names, types = tables["attribute_map"], tables["openapi_types"]
                found[node.name] = {names[field]: types[field] for field in types}
    return found


def unknown_fields(value, kind: str, fields: dict[str, dict[str, str]], path="") -> list[str]:
    """Fields of a document that its class does not have; Kubernetes' classes are not checked."""
    if items := re.fullmatch(r"list\[(.*)\]", kind):
        return [
            each
            for n, item in enumerate(value)
            for each in unknown_fields(item, items[1], fields, f"{path}[{n}]")
        ]
    if kind not in fields:
        return []
    wrong = [f"{path}.{name}" for name in value if name not in fields[kind]]
    return wrong + [
        each
        for name, item in value.items()
        if name in fields[kind]
        for each in unknown_fields(item, fields[kind][name], fields, f"{path}.{name}")
    ]


def test_the_runtime_starts_as_many_threads_as_in_the_base(manifests):
    (server,) = manifests["ServingRuntime", "rockstartf"]["spec"]["containers"]
    (base,) = by_kind_and_name("k8s/base")["Deployment", "model-server"]["spec"]["template"][
        "spec"
    ]["containers"]
    assert server["resources"]["limits"]["cpu"] == base["resources"]["limits"]["cpu"]
    threads = re.compile("--(tensorflow_int|grpc_max_threads|rest_api_num_threads)")
    assert {each for each in server["args"] if threads.match(each)} == {
        each for each in base["args"] if threads.match(each)
    }
