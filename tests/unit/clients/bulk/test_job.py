"""Runs: results in order, in bounded memory, and complete after any number of interruptions."""

import csv
import errno
import json
import os
import threading
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rockstar_client.bulk import BulkError, Pace, ResumeError
from rockstar_client.bulk.items import BatchResult, Failed, Item
from rockstar_client.bulk.job import predict_items, run
from rockstar_client.bulk.output import Files, Output, RunOptions
from rockstar_client.errors import ServerError, UnavailableError
from rockstar_contract.contract import Prediction, Score, Value
from tfs_api.status import Code

PACE = Pace(batch=3, concurrency=2, patience=0)
OPTIONS = RunOptions("toy", newest=2)


def make_items(count: int, stamp: str = "1") -> list[Item]:
    return [Item(f"item,{n}", stamp, 1, (), partial(b"%d".__mod__, n)) for n in range(count)]


def predict(examples):
    """Every fifth item fails; the label of the others is their number."""
    outcomes = [
        Failed("a fifth") if int(example) % 5 == 4 else Prediction(f"n{int(example)}", 0.5, (Score(f"n{int(example)}", 0.5), Score("x", 0.25)))
        for example in examples
    ]  # fmt: skip
    return BatchResult(2, outcomes)


def do(out: Path, items, options=OPTIONS, service=predict, pace=PACE, restart=False):
    output = Output(Files(out), options, restart=restart)
    try:
        return run(items, service, output, pace)
    finally:
        output.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def unavailable_after(count: int):
    """A service that is unavailable after a number of requests."""
    left = iter(range(count))
    lock = threading.Lock()

    def service(examples):
        with lock:
            next_one = next(left, None)
        if next_one is None:
            raise UnavailableError(Code.UNAVAILABLE, "gone")
        return predict(examples)

    return service


@pytest.fixture
def interrupted(tmp_path):
    """The output of a run of 30 items that was interrupted after 12."""
    out = tmp_path / "o.csv"
    with pytest.raises(UnavailableError):
        do(out, make_items(30), service=unavailable_after(4))
    return out


def test_outputs_hold_everything_in_order(tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        summary = do(tmp_path / f"{suffix}.{suffix}", make_items(12))
        assert (summary.items, summary.failed, summary.skipped) == (12, 2, 0)
    with (tmp_path / "csv.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    good = [n for n in range(12) if n % 5 != 4]
    assert rows == [
        {
            "item": f"item,{n}",
            "label": f"n{n}",
            "score": "0.5",
            "label_2": "x",
            "score_2": "0.25",
            "version": "2",
        }
        for n in good
    ]
    lines = [json.loads(line) for line in (tmp_path / "jsonl.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == [f"item,{n}" for n in good]
    assert lines[0]["top"] == [{"label": "n0", "score": 0.5}, {"label": "x", "score": 0.25}]
    table = pq.read_table(tmp_path / "parquet.parquet").to_pylist()
    assert [{name: str(value) for name, value in row.items()} for row in table] == rows
    assert (
        tmp_path / "csv.failed.csv"
    ).read_text() == 'item,reason\n"item,4",a fifth\n"item,9",a fifth\n'
    assert json.loads((tmp_path / "jsonl.failed.jsonl").read_text().splitlines()[1]) == {
        "item": "item,9",
        "reason": "a fifth",
    }
    assert sorted(contents(tmp_path)) == [
        *("csv.csv", "csv.failed.csv", "jsonl.failed.jsonl", "jsonl.jsonl"),
        *("parquet.parquet", "parquet.parquet.failed.jsonl"),
    ]


def test_outputs_side_by_side_have_their_own_failed_items(tmp_path):
    for suffix in ("jsonl", "parquet"):
        assert do(tmp_path / f"a.{suffix}", make_items(12)).failed == 2
    assert Files(tmp_path / "a.jsonl").failed_names() == {"item,4", "item,9"}
    names = {Files(tmp_path / f"a.{kind}").failed for kind in ("csv", "CSV", "jsonl", "parquet")}
    assert len(names) == 4


def test_values_are_written(tmp_path):
    do(
        tmp_path / "o.csv",
        make_items(2),
        service=lambda examples: BatchResult(1, [Value(0.5)] * len(examples)),
    )
    assert (
        tmp_path / "o.csv"
    ).read_text() == 'item,value,version\n"item,0",0.5,1\n"item,1",0.5,1\n'
    assert sorted(contents(tmp_path)) == ["o.csv"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_if_all_items_fail_the_output_is_empty(tmp_path, suffix):
    out = tmp_path / f"o.{suffix}"
    assert (
        do(out, make_items(2), service=lambda e: BatchResult(1, [Failed("no")] * len(e))).failed
        == 2
    )
    expected = b"item,version\n" if suffix == "csv" else b""
    assert out.read_bytes() == expected if suffix != "parquet" else pq.read_table(out).num_rows == 0


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@given(
    st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=40)), max_size=4), st.integers(1, 40)
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_interrupted_runs_end_like_uninterrupted_ones(tmp_path_factory, suffix, cuts, count):
    uncut, cut = tmp_path_factory.mktemp("uncut"), tmp_path_factory.mktemp("cut")
    name = f"o.{suffix}"
    do(uncut / name, make_items(count))
    for requests, torn in cuts:
        try:
            do(cut / name, make_items(count), service=unavailable_after(requests))
        except UnavailableError:
            # A kill may leave more data than the state records.
            for part in cut.glob("*.part"):
                with part.open("ab") as file:
                    file.write(torn)
        else:
            break
    if not (cut / name).exists():
        do(cut / name, make_items(count))
    assert contents(cut).keys() == contents(uncut).keys()
    if suffix != "parquet":
        assert contents(cut) == contents(uncut)
    assert pq.read_table(cut / name) == pq.read_table(uncut / name) if suffix == "parquet" else True


def test_a_continued_run_predicts_only_the_rest(interrupted):
    requested = []

    def service(examples):
        requested.extend(examples)
        return predict(examples)

    summary = do(interrupted, make_items(30), service=service)
    assert summary.skipped == 12
    assert sorted(map(int, requested)) == list(range(12, 30))


@pytest.mark.parametrize(
    ("options", "items", "message"),
    [
        (RunOptions("other", newest=2), make_items(30), "started with model toy, not other"),
        (RunOptions("toy", newest=2, top=3), make_items(30), "started with top 1, not 3"),
        (RunOptions("toy", version=1), make_items(30), "started with version newest, not 1"),
        (
            RunOptions("toy", newest=3),
            make_items(30),
            "started with version 2, but the newest is now 3; use --version 2 to continue",
        ),
        (OPTIONS, make_items(30, stamp="2"), "the input has changed"),
        (OPTIONS, make_items(30)[1:], "the input has changed"),
        (OPTIONS, make_items(5), "the input has changed"),
    ],
)
def test_other_options_or_items_do_not_continue_a_run(interrupted, options, items, message):
    before = contents(interrupted.parent)
    with pytest.raises(ResumeError, match=message):
        do(interrupted, items, options)
    assert contents(interrupted.parent) == before
    assert do(interrupted, items, options, restart=True).items == len(items)


def test_the_version_that_was_the_newest_may_be_given(interrupted):
    assert do(interrupted, make_items(30), RunOptions("toy", version=2)).items == 30


def test_appended_items_are_predicted_too(interrupted):
    assert do(interrupted, make_items(40)).items == 40


def test_a_complete_output_is_not_replaced_by_accident(tmp_path):
    out = tmp_path / "o.csv"
    do(out, make_items(5))
    before = contents(tmp_path)
    with pytest.raises(BulkError, match="already exists; use --restart"):
        do(out, make_items(5))
    assert contents(tmp_path) == before
    do(out, make_items(3), restart=True)
    assert sorted(contents(tmp_path)) == ["o.csv"]  # nothing failed this time


def test_two_runs_do_not_write_one_output(tmp_path):
    first = Output(Files(tmp_path / "o.csv"), OPTIONS)
    with pytest.raises(BulkError, match="another run is writing"):
        Output(Files(tmp_path / "o.csv"), OPTIONS)
    first.close()


@pytest.mark.parametrize("damage", [b"", b"{", b'{"options": 3}', b"\xff"])
def test_a_damaged_state_is_rejected(interrupted, damage):
    interrupted.with_name("o.csv.progress").write_bytes(damage)
    with pytest.raises(ResumeError, match=r"--restart to start over"):
        do(interrupted, make_items(30))


def test_shortened_part_files_are_rejected(interrupted):
    interrupted.with_name("o.csv.part").write_bytes(b"item")
    with pytest.raises(ResumeError, match="shorter than it was"):
        do(interrupted, make_items(30))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_failed_items_can_be_retried(tmp_path, suffix):
    out = tmp_path / f"o.{suffix}"
    do(out, make_items(30))
    before = out.read_bytes()
    again = RunOptions("toy", newest=2, retry=True)
    names = Files(out).failed_names()
    items = [item for item in make_items(30) if item.name in names]
    assert [item.name for item in items] == [f"item,{n}" for n in range(4, 30, 5)]

    def repaired(examples):
        outcomes = [Prediction("n", 0.5, (Score("n", 0.5), Score("x", 0.25))) for _ in examples]
        return BatchResult(2, [Failed("still") if example == b"9" else outcome for example, outcome in zip(examples, outcomes, strict=True)])  # fmt: skip

    def gone(examples):
        if b"19" in examples:
            raise UnavailableError(Code.UNAVAILABLE, "gone")
        return repaired(examples)

    with pytest.raises(UnavailableError):
        do(out, items, again, service=gone)
    with pytest.raises(ResumeError, match="with --retry-failed; finish"):
        do(out, make_items(30))
    do(out, items, again, service=repaired)
    after = out.read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].count(b"\n") == 5
    assert Files(out).failed_names() == {"item,9"}
    assert sorted(contents(tmp_path)) == sorted([f"o.failed.{suffix}", f"o.{suffix}"])


def test_other_columns_stop_a_run(tmp_path):
    def service(examples):
        if b"20" in examples:
            return BatchResult(3, [Value(1.0)] * len(examples))
        return predict(examples)

    with pytest.raises(
        BulkError,
        match=r"has the columns item,label,score,label_2,score_2,version, but the predictions now have item,value",
    ):
        do(tmp_path / "o.csv", make_items(30), service=service)


def test_a_server_error_keeps_finished_items(tmp_path):
    def service(examples):
        if int(examples[0]) >= 15:
            raise ServerError(Code.INTERNAL, "broken")
        return predict(examples)

    with pytest.raises(ServerError):
        do(tmp_path / "o.csv", make_items(30), service=service)
    assert do(tmp_path / "o.csv", make_items(30)).skipped == 15


def test_items_lost_to_a_full_disk_are_not_reported_as_saved(tmp_path, monkeypatch):
    output = Output(Files(tmp_path / "out.csv"), OPTIONS)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("rockstar_client.bulk.output.replace_file", fail)
        with pytest.raises(OSError, match="No space left"):
            run(make_items(12), predict, output, PACE)
    output.close()
    assert (output.state.items, output.saved) == (12, 0)
    assert do(tmp_path / "out.csv", make_items(12)).skipped == output.saved


def test_items_are_read_only_as_needed():
    read = []
    proceed = threading.Event()

    def endless():
        for n in range(1_000_000_000):
            read.append(n)
            yield make_items(1)[0]

    def service(examples):
        proceed.wait(30)
        return predict(examples)

    threading.Timer(0.2, proceed.set).start()
    found = predict_items(endless(), service, PACE)
    assert len(next(found)) == 3
    # The batches in flight and queued, and the next one.
    assert len(read) <= 3 * (2 * PACE.concurrency + 1)
    found.close()


def test_an_output_that_is_a_folder(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BulkError, match="expected a file, got the folder"):
        Files(tmp_path / "folder.csv")
