"""Accuracy of logistic, mlp and linear on small tables, compared with scikit-learn's models.

    python -m benchmarks.tables [--seeds 5] [--only iris …]

Each seed splits a table anew, with the defaults of `rockstar train`. Both sides train on the same
rows and are tested on the same held-out ones. scikit-learn's models have their defaults and the
usual pipeline: medians and most frequent categories for missing values, standardized numbers,
one-hot categories, and a standardized target for MLPRegressor. Takes some minutes.
"""

import csv
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

PENGUINS = "penguins"


@dataclass(frozen=True)
class Pair:
    """One of our models, and the scikit-learn model that it is compared with."""

    model: str
    name: str
    peer: Callable[[int], Any]


def _logistic(_seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _classifier(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(random_state=seed)


def _linear(_seed: int) -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression()


def _regressor(seed: int) -> Any:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.preprocessing import StandardScaler

    return TransformedTargetRegressor(MLPRegressor(random_state=seed), transformer=StandardScaler())


CLASSIFIERS = (
    Pair("logistic", "LogisticRegression", _logistic),
    Pair("mlp", "MLPClassifier", _classifier),
)
REGRESSIONS = (
    Pair("linear", "LinearRegression", _linear),
    Pair("mlp", "MLPRegressor", _regressor),
)
TABLES = {
    "iris": CLASSIFIERS,
    "wine": CLASSIFIERS,
    "breast cancer": CLASSIFIERS,
    PENGUINS: CLASSIFIERS,
    "diabetes": REGRESSIONS,
}


@click.command()
@click.option("--seeds", default=5, help="Number of splits of each table.")
@click.option("--only", multiple=True, type=click.Choice(list(TABLES)), help="Only these tables.")
@click.option(
    "--penguins",
    "penguins",
    type=click.Path(path_type=Path),
    default=Path("../shared/cases/training/penguins.csv"),
    help="The Palmer penguins as CSV; skipped without the file.",
)
def main(seeds: int, only: tuple[str, ...], penguins: Path) -> None:
    """Train both and print a Markdown table of mean accuracy or R² and its standard deviation."""
    click.echo("| table | rows | model | RockstarTF | scikit-learn | |")
    click.echo("| --- | ---: | --- | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory(prefix="rockstar-tables-") as folder:
        for name in only or TABLES:
            path, target = Path(folder) / f"{name}.csv", "target"
            if name == PENGUINS:
                if not penguins.is_file():
                    click.echo(f"{penguins} does not exist: skipped", err=True)
                    continue
                path, target = penguins, "species"
            else:
                _write(name, path)
            for pair in TABLES[name]:
                click.echo(_row(name, path, target, pair, seeds))


def _write(name: str, path: Path) -> None:
    from sklearn import datasets

    table = getattr(datasets, f"load_{name.replace(' ', '_')}")()
    names = getattr(table, "target_names", None)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*table.feature_names, "target"])
        for values, target in zip(table.data.tolist(), table.target.tolist(), strict=True):
            writer.writerow([*values, target if names is None else names[target]])


def _row(name: str, path: Path, target: str, pair: Pair, seeds: int) -> str:
    from rockstar_training.config import config_for
    from rockstar_training.prepared_data import prepare_data
    from rockstar_training.train import held_out_metrics

    ours, theirs, rows = [], [], 0
    for seed in range(1, seeds + 1):
        config = config_for(pair.model, data=f"csv:{path}", target=target, seed=seed)
        data = prepare_data(config)
        rows = data.examples
        metric = "test_r2" if data.task == "regression" else "test_accuracy"
        ours.append(held_out_metrics(config, data)[metric])
        learned = np.concatenate([data.train.places, data.validation.places])
        theirs.append(_peer_score(path, target, pair.peer(seed), learned, data.test.places))
    metric = "R²" if TABLES[name] is REGRESSIONS else "accuracy"
    cells = (name, str(rows), f"`{pair.model}`", _spread(ours), _spread(theirs))
    return f"| {' | '.join(cells)} | {metric}, {pair.name} |"


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


def _peer_score(path: Path, target: str, model: Any, train: Any, test: Any) -> float:
    """Accuracy or R² of a scikit-learn model, with its own preprocessing of the same rows."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [_values([row[name] for row in rows]) for name in rows[0] if name != target]
    targets = _values([row[target] for row in rows])
    numeric = [place for place, column in enumerate(columns) if column.dtype != object]
    texts = [place for place, column in enumerate(columns) if column.dtype == object]
    inputs = np.column_stack([column.astype(object) for column in columns])
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numeric),
        (
            make_pipeline(
                SimpleImputer(missing_values="NA", strategy="most_frequent"),
                OneHotEncoder(handle_unknown="ignore"),
            ),
            texts,
        ),
    )
    pipeline = make_pipeline(prepared, model)
    with warnings.catch_warnings():
        # scikit-learn warns that its default of 200 epochs does not converge.
        warnings.simplefilter("ignore")
        pipeline.fit(inputs[train], targets[train])
    return float(pipeline.score(inputs[test], targets[test]))


def _values(texts: list[str]) -> Any:
    """A column as floats, NaN for "NA", or as strings."""
    try:
        return np.array([float("nan" if text == "NA" else text) for text in texts])
    except ValueError:
        return np.array(texts, dtype=object)


if __name__ == "__main__":
    main()
