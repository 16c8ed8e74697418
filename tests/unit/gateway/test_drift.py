import numpy as np
import pytest
from numpy.typing import NDArray

from rockstar_serving.gateway.drift import LEAST_EXAMPLES, Drift, population_stability
from tests.contracts import make_contract


def batch(low: float, high: float, examples: int = LEAST_EXAMPLES) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    values: NDArray[np.float32] = generator.uniform(low, high, (examples, 8, 8, 1)).astype(
        np.float32
    )
    return values


def outputs(label: int | None, examples: int = LEAST_EXAMPLES) -> NDArray[np.float32]:
    chosen = np.arange(examples) % 4 if label is None else np.full(examples, label)
    rows: NDArray[np.float32] = np.eye(4, dtype=np.float32)[chosen]
    return rows


def test_the_index_is_that_of_its_definition() -> None:
    # 0.2 ln 2 for the bin that doubled, 0.2 ln (4/3) for the one that shrank.
    expected = 0.2 * np.log(2) + 0.2 * np.log(0.8 / 0.6)
    assert population_stability(np.array([0.2, 0.8]), np.array([40, 60])) == pytest.approx(expected)
    assert population_stability(np.array([0.5, 0.5]), np.array([7, 7])) == 0
    assert np.isfinite(population_stability(np.array([0.0, 1.0]), np.array([10, 0])))


def test_what_looks_like_the_training_data_does_not_drift() -> None:
    indices = Drift(make_contract()).observe(batch(0, 1), outputs(None))
    assert indices is not None
    assert indices.inputs == pytest.approx(0, abs=0.01)
    assert indices.labels == pytest.approx(0, abs=0.01)


def test_what_looks_different_does() -> None:
    indices = Drift(make_contract()).observe(batch(0.8, 1), outputs(2))
    assert indices is not None
    assert indices.inputs > 0.25
    assert indices.labels is not None
    assert indices.labels > 0.25


def test_few_examples_say_nothing() -> None:
    few = LEAST_EXAMPLES - 1
    assert Drift(make_contract()).observe(batch(0, 1, few), outputs(2, few)) is None


def test_examples_that_come_one_by_one_are_all_counted() -> None:
    count = 2 * LEAST_EXAMPLES
    values, answers = batch(0.3, 1, count), outputs(None, count)
    together = Drift(make_contract()).observe(values, answers)
    drift = Drift(make_contract())
    told = [drift.observe(values[i : i + 1], answers[i : i + 1]) for i in range(count)]
    assert told[-1] == together
    assert 1 <= sum(indices is not None for indices in told) < count


def test_what_was_long_ago_is_forgotten() -> None:
    drift = Drift(make_contract())
    for _ in range(10):
        drift.observe(batch(0.8, 1), outputs(2))
    for _ in range(20):
        indices = drift.observe(batch(0, 1), outputs(None))
    assert indices is not None
    assert indices.inputs == pytest.approx(0, abs=0.01)


def test_values_beyond_the_range_count_at_its_ends() -> None:
    indices = Drift(make_contract()).observe(batch(5, 6), outputs(None))
    assert indices is not None
    assert indices.inputs > 1
