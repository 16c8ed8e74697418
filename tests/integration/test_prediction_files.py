"""docs/how-a-prediction-travels.md lists the files that a prediction enters."""

import pytest

from tests.prediction_files import KINDS, listed, trace_predictions


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return trace_predictions(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_lists_them_in_order(files, kind):
    assert listed(kind) == files[kind], "run python -m tests.prediction_files"
