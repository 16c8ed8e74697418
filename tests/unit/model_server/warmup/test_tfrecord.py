"""TFRecord files, as TensorFlow writes them, whole and damaged."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockstar_serving.model_server.warmup.tfrecord import TFRecordError, read_records
from tests.warmup_files import write_records

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


def test_what_tensorflow_writes(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    assert list(read_records(file)) == RECORDS


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
            with pytest.raises(TFRecordError, match="truncated record at byte"):
                list(read_records(file))


@given(st.data())
def test_every_flipped_bit_is_found(content: bytes, file: Path, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    file.write_bytes(damaged)
    with pytest.raises(TFRecordError, match="corrupted record at byte"):
        list(read_records(file))


def test_a_length_that_its_checksum_confirms_claims_no_memory(file: Path) -> None:
    from rockstar_serving.model_server.warmup.tfrecord import masked_crc32c

    length = (2**62).to_bytes(8, "little")
    file.write_bytes(length + masked_crc32c(length).to_bytes(4, "little") + b"data")
    with pytest.raises(TFRecordError, match="the file ends sooner"):
        list(read_records(file))
