import json

import pytest
from click.testing import CliRunner
from PIL import Image

from rockstar_cli.__main__ import cli

SMALL = ["--epochs", "2", "--batch-size", "256"]


def run(*arguments):
    return CliRunner().invoke(cli, ["train", *map(str, arguments)])


def test_flags_come_before_the_file(tmp_path, monkeypatch):
    configs = []

    def record(config, *_, **__):
        configs.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("rockstar_training.train.train_and_evaluate", record)
    (tmp_path / "mine.json").write_text('{"model": "mlp", "epochs": 40, "seed": 3}')
    flags = ["--epochs", "1", "--hidden", "16,8", "--activation", "prelu", "--api", "core"]
    run("--config", tmp_path / "mine.json", "--workdir", tmp_path, *flags)
    (config,) = configs
    assert (config.epochs, config.hidden, config.seed) == (1, (16, 8), 3)
    assert (config.activation, config.api) == ("prelu", "core")


def test_ctrl_c_ends_it_with_a_sentence_and_the_usual_status(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("rockstar_training.fit.Steps.train", interrupted)
    done = run("logistic", "--workdir", tmp_path, *SMALL)
    assert done.exit_code == 130
    assert "Training stopped in epoch 1 of 2; nothing was published" in done.output
    assert not (tmp_path / "models").exists()


def test_the_same_training_twice_at_once_is_refused(tmp_path, monkeypatch):
    def at_once(*_):
        done = run("logistic", "--workdir", tmp_path, *SMALL)
        assert done.exit_code == 1
        assert "the same training of logistic is already running" in done.output
        raise KeyboardInterrupt

    monkeypatch.setattr("rockstar_training.fit.Steps.train", at_once)
    assert run("logistic", "--workdir", tmp_path, *SMALL).exit_code == 130


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [((), None), (("--quantize",), "dynamic"), (("--quantize", "int8"), "int8")],
)
def test_quantization_without_a_mode_is_dynamic(arguments, mode):
    context = cli.get_command(None, "train").make_context("train", ["cnn", *arguments, "--seed=1"])
    assert (context.params["model"], context.params["quantize"]) == ("cnn", mode)


def test_a_model_after_mlflow_is_not_its_uri():
    done = run("--mlflow", "cnn", "--data", "nonsense")
    assert (done.exit_code, "Error: data: expected" in done.output) == (2, True), done.output


def test_a_table_as_people_have_it(tmp_path):
    """Decimal commas, missing values, an index, a date, codes, and a target of 0 and 1.

    The run can be repeated from its own file.
    """
    lines = [
        f'{i};{i % 7},5;{["", "rot", "grün"][i % 3]};{1000 + i % 2};{i % 28 + 1}.03.2024;x{i};{"NA" if i == 5 else i % 2}'
        for i in range(80)
    ]  # fmt: skip
    file = tmp_path / "messy.csv"
    file.write_bytes("\n".join([";größe;farbe;plz;tag;extra;art", *lines]).encode("cp1252"))
    flags = ["--target", "art", "--ignore", "extra", "--type", "plz=category"]
    flags += ["--seed", 5, "--tensorboard", *SMALL]
    done = run("logistic", "--workdir", tmp_path, "--data", f"csv:{file}", *flags)
    assert done.exit_code == 0, done.output
    before, after = done.output.split("Loading TensorFlow")
    assert "art: classification, 2 labels (0, 1)" in before
    assert "column 'Unnamed: 0' is left out: it looks like an ID" in before
    assert "rows without a value in 'art' are left out: 1 of 80, the first in line 7" in before
    assert "'farbe' 27" in before
    assert "left out" not in after
    record = tmp_path / "runs" / "logistic-1"
    config = json.loads((record / "config.json").read_text())
    assert (config["ignore"], config["types"]) == (["extra"], {"plz": "category"})
    columns = json.loads((record / "contract.json").read_text())["input"]["columns"]
    kinds = {"größe": "numeric", "farbe": "categorical", "plz": "categorical", "tag": "date"}
    assert {column["name"]: column["kind"] for column in columns} == kinds
    assert (columns[0]["decimal"], columns[1]["indicator"]) == (",", True)
    assert (record / "tensorboard").is_dir()
    again = run("--config", record / "config.json", "--workdir", tmp_path)
    assert again.exit_code == 0, again.output
    assert "logistic version 2 in " in again.output
    for name in ("config.json", "metrics.json", "test_predictions.csv"):
        second = (tmp_path / "runs" / "logistic-2" / name).read_text()
        assert second == (record / name).read_text()
    assert list((tmp_path / "runs" / ".unfinished").iterdir()) == []


def test_four_learning_rates_are_plotted(tmp_path):
    """Too high: the loss grows first. Good: it ends lowest. Too low: it hardly falls."""
    plot = tmp_path / "rates.png"
    done = CliRunner().invoke(cli, ["learning-rates", "--epochs=4", "--json", f"--out={plot}"])
    runs = {each["name"]: each for each in json.loads(done.stdout)["runs"]}
    assert max(runs["very high"]["losses"]) > runs["very high"]["losses"][0]
    assert min(runs, key=lambda name: runs[name]["settled"]) == "good"
    with Image.open(plot) as image:
        assert min(image.size) > 300
