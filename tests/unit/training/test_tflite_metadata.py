"""The LiteRT file for phones, browsers and microcontrollers."""

import re
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from rockstar_contract.contract import Contract
from rockstar_training import export as exporting
from rockstar_training.errors import ExportError
from rockstar_training.export import export, versions
from rockstar_training.tensorflow_setup import tf
from rockstar_training.tflite_metadata import packed_files, with_metadata
from tests.images import png
from tests.table_models import regression
from tests.unit.training import toys

LABELS = [str(digit) for digit in range(10)]


class Table:
    """A FlatBuffers table, parsed by the format's definition."""

    def __init__(self, data, place):
        self.data, self.place = data, place

    def _unpack(self, format, place):
        return struct.unpack_from(f"<{format}", self.data, place)[0]

    def _field(self, slot):
        table = self.place - self._unpack("i", self.place)
        offset = 4 + 2 * slot
        inside = self._unpack("H", table + offset) if offset < self._unpack("H", table) else 0
        return self.place + inside if inside else None

    def number(self, slot, format="B"):
        place = self._field(slot)
        return self._unpack(format, place) if place else 0

    def _reference(self, slot):
        place = self._field(slot)
        return place + self._unpack("I", place)

    def table(self, slot):
        return Table(self.data, self._reference(slot))

    def tables(self, slot):
        start = self._reference(slot)
        places = [start + 4 + 4 * number for number in range(self._unpack("I", start))]
        return [Table(self.data, place + self._unpack("I", place)) for place in places]

    def floats(self, slot):
        start = self._reference(slot)
        return list(struct.unpack_from(f"<{self._unpack('I', start)}f", self.data, start + 4))

    def text(self, slot):
        start = self._reference(slot)
        return self.data[start + 4 : start + 4 + self._unpack("I", start)].decode()


def metadata(content):
    """The root table of the metadata in a .tflite file."""
    model = schema.Model.GetRootAs(content, 0)
    entry = model.Metadata(model.MetadataLength() - 1)
    assert entry.Name() == b"TFLITE_METADATA"
    data = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert data[4:8] == b"M001"
    return Table(data, struct.unpack_from("<I", data)[0])


def test_an_interpreter_needs_no_signatures_and_no_resizing(exported):
    interpreter = Interpreter(str(exported.folder / "edge.tflite"))
    interpreter.allocate_tensors()
    (image,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (image["dtype"], image["shape"].tolist()) == (np.float32, [1, 20, 20, 1])
    assert image["shape_signature"].tolist() == [1, 20, 20, 1]
    assert (answer["dtype"], answer["shape"].tolist()) == (np.float32, [1, 10])
    model = tf.saved_model.load(str(exported.folder)).signatures["serving_default"]
    for tensor in toys.golden().tensors:
        interpreter.set_tensor(image["index"], tensor[np.newaxis])
        interpreter.invoke()
        wanted = model(image=tf.constant(tensor[np.newaxis]))["probabilities"]
        np.testing.assert_allclose(interpreter.get_tensor(answer["index"]), wanted, atol=1e-6)


def test_only_prediction_is_in_it(exported):
    model = schema.Model.GetRootAs((exported.folder / "edge.tflite").read_bytes(), 0)
    assert model.SubgraphsLength() == 1
    assert model.SignatureDefs(0).SignatureKey() == b"serving_default"


def test_labels_and_contract_are_appended(exported):
    with zipfile.ZipFile(exported.folder / "edge.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines() == LABELS
        assert Contract.from_json(archive.read("contract.json")) == exported.contract
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_metadata_tell_the_input_and_the_output(exported):
    root = metadata((exported.folder / "edge.tflite").read_bytes())
    assert (root.text(0), root.text(2)) == ("toy version 1, classification", "1")
    (graph,) = root.tables(3)
    (image,), (answer,) = graph.tables(2), graph.tables(3)
    assert image.text(0) == "image"
    assert image.text(1).startswith("float32 [1, 20, 20, 1] in 0 to 1, made of the pixels by")
    content = image.table(3)
    assert content.number(0) == 2  # ImageProperties
    assert content.table(1).number(0, "b") == 2  # GRAYSCALE
    size = content.table(1).table(1)
    assert (size.number(0, "I"), size.number(1, "I")) == (20, 20)
    (unit,) = image.tables(4)
    assert unit.number(0) == 1  # NormalizationOptions: pixels minus 0, by 255
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == ([0.0], [255.0])
    (labels,) = answer.tables(6)
    assert (labels.text(0), labels.number(2, "b")) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS


def test_a_table_has_metadata_too(exported):
    contract = regression()
    content = with_metadata((exported.folder / "edge.tflite").read_bytes(), contract)
    (graph,) = metadata(content).tables(3)
    (row,), (number,) = graph.tables(2), graph.tables(3)
    assert (row.text(0), row.table(3).number(0)) == ("features", 1)  # FeatureProperties
    assert number.text(1) == f"The predicted {contract.target}."
    assert packed_files(content) == {"contract.json": contract.to_json()}


def test_the_program_in_the_documentation(exported, tmp_path, monkeypatch, capsys):
    document = Path(__file__).parents[3] / "docs" / "devices.md"
    (program,) = re.findall(r"```python\n(.*?)```", document.read_text("utf-8"), re.DOTALL)
    (tmp_path / "edge.tflite").write_bytes((exported.folder / "edge.tflite").read_bytes())
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    (tmp_path / "photo.jpg").write_bytes(png(pixels))
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        exec(program, {})
    label, probability = capsys.readouterr().out.split()
    tensor = (pixels.astype(np.float32) / 255).reshape(1, 20, 20, 1)
    wanted = np.asarray(toys.plain_model()[0](tf.constant(tensor)))[0]
    assert label == LABELS[wanted.argmax()]
    assert float(probability) == pytest.approx(wanted.max(), abs=1e-5)


def test_a_file_with_other_labels_is_not_published(tmp_path, monkeypatch):
    predict, variables = toys.plain_model()
    other = toys.draft("other")
    monkeypatch.setattr(
        exporting, "with_metadata", lambda content, _: with_metadata(content, other)
    )
    with pytest.raises(ExportError, match=r"files in edge\.tflite are not those of the contract"):
        export(predict, variables, toys.draft(), toys.golden(), tmp_path)
    assert versions(tmp_path / "toy") == []
