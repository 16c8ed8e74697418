"""The steps of `make cluster-test`, with processes instead of pods."""

from pathlib import Path

import pytest

from rockstar_training.config import config_for
from rockstar_training.train import train_and_evaluate
from tests.cluster.__main__ import _roll_out
from tests.cluster.clusters import ClusterTestError
from tests.cluster.predictions import digits, require_right_answers
from tests.integration.cluster.pods import CountingNameServer, Pods
from tests.integration.gateway.conftest import end, launch
from tests.load import Load
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="looks at connections through /proc (Linux)"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with two versions of cnn, here a quick logistic regression."""
    workdir = tmp_path_factory.mktemp("work")
    for seed in (1, 2):
        train_and_evaluate(config_for("logistic", name="cnn", epochs=3, seed=seed), workdir)
    return workdir / "models"


@pytest.fixture
def names():
    with CountingNameServer() as server:
        yield server


@pytest.fixture
def pods(models, names, tmp_path):
    pods = Pods(models, names, tmp_path)
    yield pods
    pods.end()


@pytest.fixture
def gateway(pods, names, tmp_path):
    pods.start(version=1)
    pods.start(version=1)
    # The later of two settings counts.
    options = ["--workers=1", "--model=cnn", f"--upstream={names.target(pods.port)}"]
    gateway = launch(0, tmp_path / "gateway.log", *options)
    try:
        until(gateway.ready, what="a gateway that is ready")
        yield gateway
    finally:
        end(gateway)


def test_a_new_version_is_rolled_out_under_load_and_no_request_fails(gateway, pods, capsys):
    require_right_answers(gateway.url, "cnn", version=1)
    _roll_out(pods, gateway.url)
    require_right_answers(gateway.url, "cnn", version=2)
    said = capsys.readouterr().out
    assert "by version 1, " in said
    assert "by version 2, 0 failed." in said


def test_failed_requests_are_recorded(gateway, pods):
    with Load([gateway.url], "cnn", [image for image, _ in digits(3)]) as load:
        load.more()
        pods.end()
        until(lambda: load.failures)
    assert load.versions[1] == load.answers
    assert "503" in load.failures[0]


def test_a_service_that_responds_with_another_version(gateway):
    with pytest.raises(ClusterTestError, match="expected version 2, got 1"):
        require_right_answers(gateway.url, "cnn", version=2)
    with pytest.raises(ClusterTestError, match=r"answers 404: .*digits"):
        require_right_answers(gateway.url, "digits", version=1)
