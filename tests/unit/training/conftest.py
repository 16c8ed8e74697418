"""A toy model, exported once for all tests."""

import pytest

from rockstar_training.export import Exported, export
from tests.unit.training import toys


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """A published version of the toy classifier, with a model card."""
    models = tmp_path_factory.mktemp("models")
    arguments = (*toys.plain_model(), toys.draft(), toys.golden(20), models)
    return export(*arguments, documents=toys.model_card)
