"""The pod of KServe's ClusterServingRuntime as processes."""

import json

import requests

from tests.end_to_end.heldout import held_out
from tests.end_to_end.pods import Pods
from tests.manifests import by_kind_and_name
from tests.waiting import until


def test_a_pod_answers_in_all_protocols(trained_models, tmp_path):
    runtime = by_kind_and_name("k8s/kserve/embedded")[
        "ClusterServingRuntime", "rockstartf-embedded"
    ]
    text = json.dumps(runtime["spec"]["containers"])
    # As KServe does.
    models = trained_models.workdir / "models"
    text = text.replace("{{.Name}}", "cnn").replace("/mnt/models", str(models / "cnn"))
    text = text.replace('"port": 8501', '"port": "rest"').replace('"port": 8080', '"port": "http"')
    server, gateway = json.loads(text)
    volumes = [{"name": "tmp", "emptyDir": {}}]
    documents = [
        {
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}},
        }
        for name, container in (("model-server", server), ("gateway", gateway))
    ]
    pods = Pods(documents, models, tmp_path)
    try:
        running = pods.model_server()
        answering = pods.gateway(running.addresses["grpc"])
        for each in (running, answering):
            until(lambda each=each: each.passes("readinessProbe"))
        files, labels, _ = held_out(trained_models.workdir / "runs" / "cnn-1")
        url = f"http://{answering.addresses['http']}"
        answer = requests.post(f"{url}/predict/cnn", data=files[0], timeout=30).json()
        assert answer["predictions"][0]["label"] == labels[0]
        for path in ("/v1/models/cnn", "/v2/models/cnn/ready"):
            assert requests.get(url + path, timeout=30).status_code == 200
    finally:
        pods.close()
