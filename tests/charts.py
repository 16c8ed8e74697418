"""charts/rockstartf as Helm's library renders it, with the values that tests use."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.environments import answers_of, environment
from tests.manifests import K8S, ROOT, Manifest

CHART = ROOT / "charts" / "rockstartf"
ENVOY = [{"name": "gateway", "namespace": "envoy-gateway-system"}]
HTTP = {"enabled": True, "parentRefs": ENVOY, "hostnames": ["predict.example.org"]}
MONITORING = {"monitoring": {"enabled": True}}
# An overlay with components, and the same as values.
SAME: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "embedded": ("embedded", (), {}),
    "tfserving-cpu": ("cpu", (), {"modelServer": {"variant": "tfserving-cpu"}}),
    "tfserving-gpu": ("gpu", (), {"modelServer": {"variant": "tfserving-gpu"}}),
    "gateway-api": (
        "embedded",
        (
            "autoscale-inflight",
            "gateway-api",
            "gateway-api-canary",
            "gateway-api-grpc",
            "monitoring",
        ),
        {
            **MONITORING,
            "gateway": {"autoscaling": {"requestsInFlight": 16}},
            "httpRoute": {
                **HTTP,
                "canary": {"weight": 10, "namespace": "rockstartf-canary", "service": "gateway"},
            },
            "grpcRoute": {
                "enabled": True,
                "parentRefs": ENVOY,
                "hostnames": ["models.example.org"],
            },
        },
    ),
    "tls-keda-volume": (
        "cpu",
        ("autoscale-keda", "model-storage-pvc", "monitoring", "tls"),
        {
            **MONITORING,
            "modelServer": {"variant": "tfserving-cpu"},
            "gateway": {"autoscaling": {"kind": "keda", "requestsInFlight": 16}},
            "modelStorage": {"source": "pvc"},
            "tls": {"enabled": True},
            "ingress": {
                "host": "predict.example.org",
                "tls": {
                    "secretName": "gateway-tls",
                    "issuer": {"kind": "ClusterIssuer", "name": "letsencrypt"},
                },
            },
        },
    ),
    "bucket": (
        "embedded",
        ("model-storage-s3",),
        {
            "modelStorage": {
                "source": "bucket",
                "bucket": {
                    "versions": [
                        f"s3://rockstartf-models/{name}/1" for name in ("logistic", "mlp", "cnn")
                    ],
                    "existingSecret": "model-storage-keys",
                },
            }
        },
    ),
    "images": (
        "cpu",
        ("model-image",),
        {
            "modelServer": {"variant": "tfserving-cpu"},
            "modelStorage": {
                "source": "images",
                "images": {
                    name: f"registry.example.org/models/{name}:1"
                    for name in ("logistic", "mlp", "cnn")
                },
            },
        },
    ),
    "versions": (
        "embedded",
        ("canary",),
        {
            "modelsConfig": (K8S / "components/canary/models.config").read_text(),
            "routes": (K8S / "components/canary/routes.toml").read_text(),
        },
    ),
}
# What has no counterpart in k8s/.
ONLY_HERE: dict[str, dict[str, Any]] = {
    "keys": {"apiKeys": {"toml": '[keys.alice]\nsha256 = "…"\n'}},
    "openshift": {"podSecurityContext": None},
    "all": {
        "fullnameOverride": "digits",
        "images": {"pullSecrets": ["registry"], "gateway": {"digest": f"sha256:{'0' * 64}"}},
        "apiKeys": {"existingSecret": "keys"},
        "gateway": {
            "autoscaling": {"kind": "none"},
            "settings": {
                "ROCKSTAR_MAX_BODY_BYTES": 100_000_000,
                "ROCKSTAR_MAX_REQUEST_TIMEOUT": 60.5,
            },
            "nodeSelector": {"pool": "web"},
            "podAnnotations": {"a": "b"},
        },
        "modelServer": {
            "variant": "tfserving-gpu",
            "cpus": 8,
            "gpuResource": "nvidia.com/mig-1g.10gb",
            "memoryLimit": "16Gi",
            "requests": {"cpu": "4"},
            "extraArgs": ["--per_process_gpu_memory_fraction=0.4"],
            "tolerations": [{"key": "batch", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "runtimeClassName": "nvidia",
        },
        "tls": {
            "enabled": True,
            "certManager": False,
            "modelServerSecret": "server",
            "gatewaySecret": "client",
        },
        "monitoring": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "apiKey": {"name": "prometheus-key", "key": "key"},
        },
        "httpRoute": {"acceptRoutesFrom": "stable"},
    },
}


def values_of(name: str) -> dict[str, Any]:
    values = copy.deepcopy(SAME[name][2] if name in SAME else ONLY_HERE[name])
    if name in SAME:
        values.setdefault("ingress", {})["enabled"] = True
    return values


def helm(config: pytest.Config) -> Callable[..., list[Any]]:
    """Runs requests of tests/helm_sdk.py; skips the test if Helm's library cannot be installed."""
    interpreter = environment(config, "helm", ["helm-python-sdk==0.2.2"])
    program = [interpreter, ROOT / "tests" / "helm_sdk.py"]
    return lambda *requests: answers_of(program, list(requests))


def rendered_charts(config: pytest.Config) -> dict[str, dict[str, str]]:
    """The rendered files of each set of values."""
    names = [*SAME, *ONLY_HERE]
    requests = [{"render": str(CHART), "values": values_of(name)} for name in names]
    return dict(zip(names, helm(config)(*requests), strict=True))


def documents(files: dict[str, str]) -> list[Manifest]:
    """The manifests of rendered files; an `error` fails the test."""
    assert "error" not in files, files["error"]
    text = "\n---\n".join(text for path, text in files.items() if path.endswith(".yaml"))
    return [each for each in yaml.safe_load_all(text) if each]
