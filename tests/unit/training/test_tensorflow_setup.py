import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rockstar_training.tensorflow_setup import dtype_policy, tf
from tests.ports import free_ports
from tests.unit.training.worker import main

ROOT = Path(__file__).parents[3]


BOTH = ("keras:logistic", "core:logistic")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Files with the results of one process with one device."""
    folder = tmp_path_factory.mktemp("alone")
    main(folder, "1", *BOTH)
    return folder


def start(*arguments, tf_config=None):
    environment = os.environ | ({"TF_CONFIG": json.dumps(tf_config)} if tf_config else {})
    command = [sys.executable, "-m", "tests.unit.training.worker", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(*processes):
    try:
        for process in processes:
            output = process.communicate(timeout=180)[0]
            assert process.returncode == 0, output.decode()
    finally:
        for process in processes:
            process.kill()


def require_same(folder, alone):
    for file in alone.iterdir():
        expected, got = np.load(file), np.load(folder / file.name)
        for name in expected.files:
            np.testing.assert_allclose(got[name], expected[name], atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_two_worker_processes_learn_the_same_as_one(alone, tmp_path):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    folders = [tmp_path / str(index) for index in range(2)]
    processes = []
    for index, folder in enumerate(folders):
        folder.mkdir()
        task = {"type": "worker", "index": index}
        processes.append(start(folder, 1, *BOTH, tf_config={"cluster": cluster, "task": task}))
    finish(*processes)
    for folder in folders:
        require_same(folder, alone)


@pytest.mark.slow
def test_two_devices_learn_the_same_as_one(alone, tmp_path):
    finish(start(tmp_path, 2, *BOTH, "keras:cnn"))
    require_same(tmp_path, alone)
    # Dropout draws different numbers on other devices, so this result differs.
    assert np.isfinite(np.load(tmp_path / "keras-cnn.npz")["losses"]).all()


def test_mixed_precision_is_for_gpus_unless_requested():
    assert dtype_policy("on") == "mixed_bfloat16"
    assert dtype_policy("off") == "float32"
    if not tf.config.list_physical_devices("GPU"):
        assert dtype_policy("auto") == "float32"
