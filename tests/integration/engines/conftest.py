from pathlib import Path

import numpy as np
import pytest

from rockstar_contract.manifest import write_manifest
from tests.contracts import make_contract
from tests.model_fixtures import write_linear
from tests.table_models import regression


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: `toy` takes images and is often not sure, `price` rows of tables."""
    folder = tmp_path_factory.mktemp("models")
    weights = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    for contract, values in [
        (make_contract(threshold=0.4), weights),
        (regression(model="price"), np.array([[1.0], [0.0], [1.0], [2.0]], np.float32)),
    ]:
        write_manifest(write_linear(folder, contract, values))
    return folder
