"""The gateway and the model server in containers without privileges or a writable file system."""

import urllib.request

import pytest

pytestmark = pytest.mark.images


@pytest.fixture(scope="module")
def pair(start_pair):
    return start_pair()


def test_predicts_a_png_and_stops_in_time(start_pair, ask, held_out):
    pair = start_pair()
    answers = [ask(pair, "cnn", png) for png in held_out.images[:5]]
    assert answers == held_out.predicted[:5]
    assert pair.gateway.healthy()
    assert pair.model_server.healthy()
    assert (pair.gateway.stop(), pair.model_server.stop()) == (0, 0)


def test_runs_as_any_user_and_without_a_shell(start_pair, ask, held_out):
    shells = [f"--volume=/dev/null:/usr/bin/{shell}:ro" for shell in ("dash", "bash")]
    pair = start_pair("--user=1000650000:0", *shells)
    assert ask(pair, "mlp", held_out.images[0]) is not None
    assert pair.gateway.run("sh", "-c", "true").returncode != 0
    assert pair.gateway.run("id", "-u").stdout.strip() == "1000650000"


def test_has_no_rights(pair):
    for container in (pair.gateway, pair.model_server):
        status = container.run("cat", "/proc/1/status").stdout
        values = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
        assert int(values["CapBnd"], 16) == int(values["CapEff"], 16) == 0
        assert values["NoNewPrivs"] == "1"
        assert set(values["Uid"].split()) == {"10001"}
        assert container.run("touch", "/app/new").returncode != 0


def test_both_have_metrics(pair, ask, held_out):
    ask(pair, "cnn", held_out.images[0])
    of_models = f"http://{pair.model_server.address}:8501/monitoring/prometheus/metrics"
    assert "rockstar_requests_total{" in read(f"{pair.url}/metrics")
    assert ":tensorflow:serving:request_count{" in read(of_models)


def read(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()
