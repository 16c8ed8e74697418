"""Warmup: replayed and skipped records, errors that prevent loading, and TFRecord files."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from rockstar_serving.model_server.engines.engine import LoadError, ServableId
from rockstar_serving.model_server.warmup import MAX_RECORDS, masked_crc32c, read_records, warm_up
from tests.examples_engine import ExamplesEngine
from tests.fake_engine import FakeEngine
from tests.warmup_files import (
    FILE,
    PredictionLog,
    examples_log,
    multi_inference_log,
    predict_log,
    write_records,
)
from tfs_api.signature import CLASSIFY_METHOD, REGRESS_METHOD
from tfs_api.status import StatusError

X = {"x": [[1.0, 2.0]]}
VERSION = ServableId("m", 1)


class CountingEngine(FakeEngine):
    """Records its requests."""

    def __init__(self, name: str = "fake") -> None:
        super().__init__()
        self.name = name
        self.asked: list[tuple[str, list[str]]] = []

    def run(self, signature, feeds, fetches, *rest):
        self.asked.append((signature, list(fetches)))
        return super().run(signature, feeds, fetches, *rest)


Warm = Callable[..., CountingEngine]


@pytest.fixture
def warm(tmp_path: Path) -> Warm:
    """Load a version with these records."""

    def warm(
        records: list[bytes], engine: CountingEngine | None = None, iterations: int = 1
    ) -> CountingEngine:
        engine = engine or CountingEngine()
        write_records(tmp_path, records)
        warm_up(engine, ServableId("m", 3), tmp_path, iterations=iterations)
        return engine

    return warm


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_requests_are_replayed_in_order(warm: Warm, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine = warm(
        [
            predict_log(X),
            predict_log({"a": [1], "b": [2]}, "sum", ["difference"]),
            predict_log({"text": ["ä"]}, "echo"),
        ]
    )
    assert engine.asked == [
        ("serving_default", ["y"]),
        ("sum", ["difference"]),
        ("echo", ["text", "text_bytes"]),
    ]
    (message,) = messages(caplog)
    assert message.startswith("model m version 3: warmed up with 3 requests in ")
    assert message.endswith(" ms")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (predict_log({}), r"record 2 \(predict_log\): input size does not match signature: 0!=1"),
        (
            predict_log(X, "none"),
            r'record 2 \(predict_log\): Serving signature key "none" not found',
        ),
        (predict_log({"x": [1.0]}, "fail"), r"record 2 \(predict_log\): the model fails on it"),
        (b"\xff\xff", "record 2 is not a PredictionLog message"),
        *(
            (
                PredictionLog(**{kind: {}}).SerializeToString(),
                rf"record 2 \({kind}\): this kind of record cannot be replayed",
            )
            for kind in ("session_run_log", "predict_streamed_log")
        ),
    ],
)
def test_a_wrong_record_keeps_the_version_from_loading(warm, tmp_path, record, reason):
    engine = CountingEngine()
    with pytest.raises(LoadError, match=reason) as caught:
        warm([predict_log(X), record], engine)
    assert str(caught.value).startswith(f"warmup file {tmp_path / FILE}: ")
    assert str(caught.value).endswith("serve without it (--enable_model_warmup=false)")
    assert engine.closed


def test_a_compressed_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / FILE), options="GZIP") as writer:
        writer.write(predict_log(X))
    with pytest.raises(LoadError, match="must be an uncompressed TFRecord file"):
        warm_up(CountingEngine(), VERSION, tmp_path)


def test_a_thousand_records_and_no_more(warm: Warm) -> None:
    assert len(warm([predict_log(X)] * MAX_RECORDS).asked) == 1000
    engine = CountingEngine()
    with pytest.raises(LoadError, match="it has more than 1000 records"):
        warm([predict_log(X)] * (MAX_RECORDS + 1), engine)
    assert len(engine.asked) == 1000


def test_kinds_that_tensorflow_serving_passes_over(warm, caplog):
    assert len(warm([b"", predict_log(X)]).asked) == 1
    assert messages(caplog) == [
        "model m version 3: passed over 1 warmup records of a kind that is not replayed"
    ]


def test_method_names_are_checked_where_requests_are_checked(tmp_path: Path) -> None:
    write_records(tmp_path, [examples_log("classify_log", "classify_by_predict")])
    warm_up(ExamplesEngine(), VERSION, tmp_path)
    with pytest.raises(LoadError, match=r"record 1 \(classify_log\): "):
        warm_up(ExamplesEngine(), VERSION, tmp_path, check_method=True)


def test_litert_skips_a_request_of_which_it_lacks_one_signature(warm, caplog):
    tasks = multi_inference_log(("", CLASSIFY_METHOD), ("regress", REGRESS_METHOD))
    assert not warm([tasks, examples_log("classify_log", "c")], CountingEngine("LiteRT")).asked
    assert messages(caplog) == [
        "model m version 3: skipped 2 warmup requests: LiteRT has no signature c, regress"
    ]


RECORDS = [b"first", b"", b"\0" * 300, "äöü".encode()]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_records(tmp_path_factory.mktemp("records"), RECORDS).read_bytes()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "records"


def boundaries() -> set[int]:
    ends = [0]
    for record in RECORDS:
        ends.append(ends[-1] + len(record) + 16)
    return set(ends)


@given(st.lists(st.binary(max_size=1000)))
def test_any_records(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("any")
    assert list(read_records(write_records(folder, records))) == records


def test_every_truncation_is_found(content: bytes, file: Path) -> None:
    for size in range(len(content)):
        file.write_bytes(content[:size])
        if size in boundaries():
            assert list(read_records(file)) == RECORDS[: sorted(boundaries()).index(size)]
        else:
            with pytest.raises(StatusError, match="truncated record at byte"):
                list(read_records(file))


@given(st.data())
def test_every_flipped_bit_is_found(content: bytes, file: Path, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    file.write_bytes(damaged)
    with pytest.raises(StatusError, match="corrupted record at byte"):
        list(read_records(file))


def test_a_length_that_its_checksum_confirms_claims_no_memory(file: Path) -> None:
    length = (2**62).to_bytes(8, "little")
    file.write_bytes(length + masked_crc32c(length).to_bytes(4, "little") + b"data")
    with pytest.raises(StatusError, match="the file ends sooner"):
        list(read_records(file))
