"""Requirements for replacing a served version."""

import pytest
from msgspec.structs import replace

from rockstar_training.contract_builder import require_compatible, worse_than_served
from rockstar_training.errors import DataError
from tests.contracts import make_contract
from tests.registries import add_version
from tests.table_models import table_classifier

THREE = ("a", "b", "c")


def contract(accuracy: float, count: int):
    right = round(accuracy * count)
    return make_contract(
        model="cnn",
        labels=THREE,
        metrics={"test_accuracy": accuracy},
        confusion=((right, count - right, 0), (0, 0, 0), (0, 0, 0)),
    )


def publish(models, made) -> None:
    changes = {name: getattr(made, name) for name in ("labels", "metrics", "confusion", "input")}
    changes |= {"target": made.target, "data_set": made.data_set}
    add_version(models, "cnn", 1, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a", "b")}, r"the labels a, b \(2\) instead of a, b, c \(3\)"),
        ({"labels": ("b", "a", "c")}, "the same labels in another order"),
        ({"target": "price"}, "the target price instead of none"),
        ({"input": table_classifier().input}, "rows of a table as input instead of images"),
    ],
)
def test_another_promise_is_rejected_with_the_differences(tmp_path, changes, message):
    publish(tmp_path, contract(0.9, 100))
    changes = {"labels": THREE, **changes}
    with pytest.raises(DataError, match=message) as raised:
        require_compatible(tmp_path, "cnn", make_contract(model="cnn", **changes))
    assert str(raised.value).endswith("Use --name for another model, or --replace")


def test_other_columns_are_named(tmp_path):
    served = table_classifier(model="cnn")
    publish(tmp_path, served)
    first, *others = served.input.columns
    columns = (replace(first, name="a"), replace(first, name="b"), *others)
    changed = replace(served, input=replace(served.input, shape=(5,), columns=columns))
    message = r"take its place without the column petal width; with the new columns a, b\. Use"
    with pytest.raises(DataError, match=message):
        require_compatible(tmp_path, "cnn", changed)


def test_another_data_set_is_refused_and_one_that_is_not_known_is_not(tmp_path):
    made = contract(0.9, 100)
    publish(tmp_path, made)
    other = replace(made.training_data[0], name="other")
    with pytest.raises(DataError, match="the data set other instead of "):
        require_compatible(tmp_path, "cnn", replace(made, data_set=other))
    require_compatible(tmp_path, "cnn", replace(made, data_set=None))
    require_compatible(tmp_path, "cnn", made)
    require_compatible(tmp_path, "another", replace(made, data_set=other))


@pytest.mark.parametrize(
    ("before", "now", "count", "worse"),
    [
        (0.98, 0.90, 100, True),
        (0.98, 0.95, 100, False),
        (0.98, 0.95, 1000, True),
        (0.95, 0.98, 1000, False),
        (0.98, 0.98, 1000, False),
    ],
)
def test_a_version_is_worse_beyond_the_confidence_interval_only(
    tmp_path, before, now, count, worse
):
    publish(tmp_path, contract(before, count))
    reason = worse_than_served(tmp_path, contract(now, count), count)
    assert bool(reason) is worse
    if worse:
        assert f"is {now:.4f} ({count} examples)" in reason


def test_the_interval_is_that_of_newcombe(tmp_path):
    # Newcombe's example, 56 of 70 against 48 of 80: 0.0524 to 0.3339 with method 10.
    publish(tmp_path, contract(56 / 70, 70))
    assert "at least 5.2 percentage points" in worse_than_served(tmp_path, contract(0.6, 80), 80)


def test_nothing_served_is_never_better(tmp_path):
    assert worse_than_served(tmp_path, contract(0.1, 100), 100) == ""
    require_compatible(tmp_path, "cnn", contract(0.1, 100))
