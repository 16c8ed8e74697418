"""`rockstar promote`, then `rockstar serve`: a label answers as the version that it stands for."""

import numpy as np
import pytest
import requests

from rockstar_training.export import export
from tests.end_to_end.conftest import rockstar
from tests.unit.training import toys


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "models"
    for seed in (0, 1):
        predict, variables = toys.plain_model(seed)
        export(predict, variables, toys.draft(), toys.golden(), folder)
    return folder


def ask(service, which):
    body = {"instances": toys.golden(1).tensors.tolist()}
    url = f"http://{service.rest}/v1/models/toy{which}:predict"
    answer = requests.post(url, json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"][0]


def test_a_label_is_served(models, start_service, tmp_path):
    assert rockstar("promote", "toy", "1", f"--models={models}").returncode == 0
    # The folder lies elsewhere when it is served: labels are the file's, paths are not.
    moved = models.rename(tmp_path / "moved")
    service = start_service(moved)
    np.testing.assert_allclose(ask(service, "/labels/stable"), ask(service, "/versions/1"))
    np.testing.assert_allclose(ask(service, ""), ask(service, "/versions/2"))
    assert ask(service, "/labels/stable") != pytest.approx(ask(service, ""), abs=1e-3)


def test_a_file_of_labels_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "toy" / "1").mkdir(parents=True)
    (tmp_path / "models.config").write_text("{")
    said = rockstar("serve", f"--models={tmp_path}")
    assert said.returncode == 1
    assert "is not in the text format of ModelServerConfig" in said.stderr
    assert "Traceback" not in said.stderr
