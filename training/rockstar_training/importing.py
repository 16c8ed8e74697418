"""Importing a model: deriving a contract from its signature, and publishing it.

Properties that the signature lacks (pixel range, meaning of outputs) are taken from the options,
detected by running the model on samples, or assumed, with a note.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract import contract as contracts
from rockstar_contract.contract import Contract, Encoded, TensorInput, TensorSpec
from rockstar_contract.images import encode_png
from rockstar_contract.inputs import DTYPES, STRING, prepare
from rockstar_contract.preprocessing import Colour, Grey, Resize, Scale
from rockstar_contract.tables import NumericColumn
from rockstar_training.config import Kind, Pixels
from rockstar_training.contract_builder import producer, require_compatible
from rockstar_training.datasets import image_input
from rockstar_training.export import Exported, export
from rockstar_training.model_source import ImportModelError, Source, opened
from rockstar_training.prepared_data import GoldenSamples
from rockstar_training.pretrained import PIXEL_CONVERSIONS
from rockstar_training.readback import Arrays
from rockstar_training.signatures import Predict
from rockstar_training.tensorflow_setup import Tensor, quiet_native_log, tf

_SAMPLES = 8
# Sizes that are tried for dimensions of unknown size.
_SIZES = (8, 16, 32, 64, 128, 224)
# Tolerance of the range 0…1 of probabilities, and of their sum.
_SLACK, _SUM_SLACK = 1e-3, 1e-2
# Layers that scale pixels, so that the model's range is 0…255.
_SCALERS = ("rescaling", "normalization")

Convert = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ImportOptions:
    """Information about a model that its file lacks."""

    name: str  # of the published model
    labels: tuple[str, ...] | None = None  # of its classes, in order; None if unknown
    kind: Kind | None = None  # of the input; None derives it from the signature
    signature: str | None = None  # of a SavedModel; None for serving_default, or the only one
    output: str | None = None  # the one with the labels or the number; None for the only one
    columns: tuple[str, ...] | None = None  # names of a table's columns; None numbers them
    image_size: tuple[int, int] | None = None  # height and width, if the model accepts any
    pixels: Pixels | None = None  # the model's pixel range: 0…1, 0…255, or a mode of Keras
    logits: bool | None = None  # whether outputs are logits; None detects it
    allow_code: bool = False  # allow models that can run code of their author
    replace: bool = False  # publish even if the served version promises something else


@dataclass(frozen=True, eq=False)
class _Interpretation:
    """The interpretation of an output."""

    output: str  # its name
    labels: tuple[str, ...]  # empty for a regression
    convert: Convert  # maps the output [n, …] to float32 [n, labels] or [n, 1]


def import_model(path: Path, models: Path, options: ImportOptions) -> Exported:
    """Publish a .keras or .h5 file, or a folder with a SavedModel, as the next version.

    Raises a TrainingError if it cannot be imported, or the served version promises something else.
    """
    with opened(path, options.signature, allow_code=options.allow_code) as source:
        importer = _Importer(source, models, options)
        return replace(importer.publish(), notes=tuple(importer.notes))


class _Importer:
    """Publishes a model, and collects notes."""

    def __init__(self, source: Source, models: Path, options: ImportOptions) -> None:
        self.source, self.models, self.options = source, models, options
        self.notes: list[str] = []

    def publish(self) -> Exported:
        self._require_usable()
        kind = self.options.kind or self._suggest_kind()
        call, draft, golden = self._tensors() if kind == "tensor" else self._encoded(kind)
        exported = export(
            call, self.source.trackables, draft, golden, self.models, litert_required=False
        )
        if exported.problem:
            # The converter's long message has the names of operations as tf.Name.
            missing = sorted(set(re.findall(r"\btf\.([A-Z]\w*)", exported.problem)))
            why = f" ({', '.join(missing[:5])} not in LiteRT)" if missing else ""
            self.notes.append(
                f"LiteRT cannot run this model{why}: it is published without model.tflite, and "
                "needs TensorFlow where it is served"
            )
        return exported

    def _require_usable(self) -> None:
        source = self.source
        if not source.inputs:
            raise ImportModelError(f"{source.name} takes no input")
        for what, specs in (("input", source.inputs), ("output", source.outputs)):
            for name, spec in specs.items():
                if not hasattr(spec, "shape") or spec.dtype.name not in DTYPES:
                    kind = getattr(getattr(spec, "dtype", spec), "name", type(spec).__name__)
                    known = ", ".join(DTYPES)
                    raise ImportModelError(
                        f"{source.name}: {what} {name} is {kind}, expected one of {known}"
                    )
        for name, spec in source.inputs.items():
            if spec.shape.rank is None:
                raise ImportModelError(
                    f"{source.name}: the shape of input {name} is not known, not even how many "
                    "dimensions it has: save the model with tf.TensorSpec([None, …]) of each input"
                )
            if spec.shape.rank == 0 or spec.shape[0] is not None:
                rank = spec.shape.rank
                size = "no batch dimension" if rank == 0 else f"a batch of {spec.shape[0]}"
                raise ImportModelError(
                    f"{source.name}: input {name} has {size}, shape {_shape(spec)}: save the model "
                    "for any number of examples, its first dimension None"
                )

        wanted = self.options.output
        if wanted is not None and wanted not in source.outputs:
            known = ", ".join(sorted(source.outputs))
            raise ImportModelError(f"{source.name} has no output {wanted}; it has {known}")

    def _suggest_kind(self) -> Kind:
        """Guess the kind of input from the signature."""
        source, options = self.source, self.options
        spec = next(iter(source.inputs.values()))
        output = source.outputs[options.output or next(iter(source.outputs))]
        # An output such as a mask has neither labels nor a number.
        flat = output.shape.rank in (None, 2)
        one = len(source.inputs) == 1 and (len(source.outputs) == 1 or options.output is not None)
        numbers = spec.dtype.is_floating or spec.dtype == tf.uint8
        kind: Kind = "tensor"
        if one and flat and numbers and _channels(spec) is not None:
            kind = "image"
        elif one and flat and spec.dtype.is_floating and spec.shape.rank == 2 and options.columns:
            kind = "table"
        self.notes.append(f"input {kind}, by the model's signature; --input says otherwise")
        return kind

    def _encoded(self, kind: Kind) -> tuple[Predict, Contract, GoldenSamples]:
        """Describe a model of images or rows: one float tensor in, labels or a number out."""
        source = self.source
        if len(source.inputs) > 1:
            raise ImportModelError(
                f"{source.name} takes {len(source.inputs)} inputs ({', '.join(source.inputs)}), an "
                f"{kind} would be one: use --input tensor"
            )
        ((name, spec),) = source.inputs.items()
        if spec.dtype == tf.string:
            raise ImportModelError(
                f"{source.name}: input {name} takes strings, not numbers; use --input tensor, and "
                f'send {{"instances": [{{"{name}": text}}]}}'
            )
        taken, feed = self._image(spec) if kind == "image" else self._table(spec)
        golden = _golden(taken)

        def call(tensor: Tensor) -> dict[str, Tensor]:
            outputs: dict[str, Tensor] = source.call(**{name: feed(tensor)})
            return outputs

        found = self._run(lambda: call(tf.constant(golden.tensors)))
        meaning = self._interpret(found)

        def predict(tensor: Tensor) -> Tensor:
            return meaning.convert(call(tensor)[meaning.output])

        return predict, self._draft(taken, meaning), golden

    def _tensors(self) -> tuple[Predict, Contract, Arrays]:
        """Describe a model of named tensors, with all outputs as tensors or one with labels."""
        source, output = self.source, self.options.output
        taken = TensorInput(
            tensors=tuple(
                TensorSpec(name=name, dtype=spec.dtype.name, shape=tuple(spec.shape[1:]))
                for name, spec in sorted(source.inputs.items())
            )
        )
        golden, found = self._tensor_samples(taken)
        if self.options.labels is not None:
            meaning = self._interpret(found)
            draft = self._draft(taken, meaning)

            def call(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
                return {draft.output: meaning.convert(source.call(**tensors)[meaning.output])}

        else:
            for name, array in found.items():
                if array.shape[:1] != (_SAMPLES,):
                    raise ImportModelError(
                        f"{source.name}: output {name} has shape {[*array.shape]} for {_SAMPLES} "
                        "examples, expected a row for each: leave it out with --output, or save "
                        "the model so that the first dimension is the batch"
                    )
            names = sorted([output] if output else found)
            outputs = []
            for name in names:
                shape = source.outputs[name].shape
                # Without the batch, as far as the signature determines it.
                sizes = (None,) * (found[name].ndim - 1) if shape.rank is None else shape[1:]
                spec = TensorSpec(name=name, dtype=_dtype(found[name]), shape=tuple(sizes))
                outputs.append(spec)
            draft = self._draft(taken, None, tuple(outputs))

            def call(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
                answered = source.call(**tensors)
                return {name: answered[name] for name in names}

        return call, draft, golden

    def _image(self, spec: Any) -> tuple[Encoded, Convert]:
        source, options = self.source, self.options
        channels = _channels(spec)
        if channels is None:
            raise ImportModelError(
                f"{source.name}: an image is [None, height, width, 1 or 3], its input is "
                f"{_shape(spec)}; use --input tensor"
            )
        first = spec.shape[-1] not in (1, 3)
        height, width = spec.shape[2:4] if first else spec.shape[1:3]
        if options.image_size is not None:
            wanted = options.image_size
            if (height or wanted[0], width or wanted[1]) != wanted:
                size = f"{height} x {width}, not {wanted[0]} x {wanted[1]}"
                raise ImportModelError(f"{source.name} takes images of {size}")
            height, width = wanted
        if height is None or width is None:
            raise ImportModelError(
                f"{source.name} takes images of any size ({_shape(spec)}): say which one it was "
                "trained on, such as --image-size 224"
            )
        pixels = options.pixels
        if pixels is None:
            if any(layer.lower() in _SCALERS for layer in source.layers):
                pixels, why = "0-255", "it scales them itself"
            elif spec.dtype == tf.uint8:
                pixels, why = "0-255", "its input is uint8"
            else:
                pixels, why = "0-1", "nothing says otherwise"
            self.notes.append(
                f"pixels are given to the model as {pixels.replace('-', '…')}: {why} (--pixels)"
            )
        if pixels in ("torch", "caffe") and channels != 3:
            raise ImportModelError(f"--pixels {pixels} is for color images, this model's are gray")
        colors = Grey() if channels == 1 else Colour()
        resize = Resize(height=height, width=width)
        taken = image_input((height, width, channels), colors, Scale(), resize)

        def feed(image: Tensor) -> Tensor:
            scaled = PIXEL_CONVERSIONS[pixels](image)
            scaled = tf.transpose(scaled, [0, 3, 1, 2]) if first else scaled
            return tf.cast(tf.round(scaled) if spec.dtype.is_integer else scaled, spec.dtype)

        return taken, feed

    def _table(self, spec: Any) -> tuple[Encoded, Convert]:
        source, names = self.source, self.options.columns
        if spec.shape.rank != 2 or not spec.dtype.is_floating or spec.shape[1] is None:
            raise ImportModelError(
                f"{source.name}: a row is float [None, columns], its input is {spec.dtype.name} "
                f"{_shape(spec)}; use --input tensor"
            )
        width = int(spec.shape[1])
        if names is None:
            names = tuple(f"column_{number}" for number in range(1, width + 1))
            self.notes.append(f"columns are called {names[0]} to {names[-1]} (--columns)")
        if len(names) != width:
            raise ImportModelError(
                f"{source.name} takes {width} columns, --columns names {len(names)}"
            )
        self.notes.append("numbers reach the model as they are sent; a missing one is an error")
        taken = contracts.TableInput(
            name=contracts.TABLE_INPUT,
            dtype="float32",
            shape=(width,),
            columns=tuple(NumericColumn(name=name, mean=0.0, scale=1.0) for name in names),
        )
        return taken, lambda rows: tf.cast(rows, spec.dtype)

    def _tensor_samples(self, taken: TensorInput) -> tuple[Arrays, Arrays]:
        """Find samples that the model can run on, and its outputs for them."""
        sizes = _SIZES if any(None in tensor.shape for tensor in taken.tensors) else _SIZES[:1]
        problems: list[ImportModelError] = []
        for size in sizes:
            samples: Arrays = {}
            for tensor in taken.tensors:
                shape = (_SAMPLES, *(size if each is None else each for each in tensor.shape))
                random = np.random.default_rng(0)
                if tensor.dtype == STRING:
                    words = np.array([b"a", b"word", b"another one"], dtype=object)
                    samples[tensor.name] = words[random.integers(0, len(words), shape)]
                elif np.dtype(tensor.dtype).kind == "f":
                    samples[tensor.name] = random.random(shape).astype(tensor.dtype)
                else:  # 0 and 1 are valid for IDs, counts and masks
                    samples[tensor.name] = random.integers(0, 2, shape).astype(tensor.dtype)
            try:
                feeds = {name: tf.constant(array) for name, array in samples.items()}
                return samples, self._run(partial(self.source.call, **feeds))
            except ImportModelError as error:
                problems.append(error)
        raise problems[0]

    def _run(self, call: Callable[[], dict[str, Tensor]]) -> Arrays:
        try:
            with quiet_native_log():
                return {name: np.asarray(value) for name, value in call().items()}
        except Exception as error:  # whatever the operations of a model raise
            reason = " ".join(str(error).split())
            if "ParseExample" in reason:
                reason = "it takes tf.train.Example messages; is there another --signature?"
            raise ImportModelError(
                f"{self.source.name} does not run on sample inputs: {reason[:300]}"
            ) from error

    def _interpret(self, found: Arrays) -> _Interpretation:
        """Interpret an output by its values for the samples."""
        source, options = self.source, self.options
        if options.output is None and len(found) > 1:
            raise ImportModelError(
                f"{source.name} has several outputs ({', '.join(sorted(found))}): name the one "
                "with --output, or answer all of them with --input tensor and without --labels"
            )
        name = options.output or next(iter(found))
        values = found[name]
        width = int(np.prod(values.shape[1:]))
        flat = values.ndim <= 2 or sum(size > 1 for size in values.shape[1:]) <= 1
        if values.shape[:1] != (_SAMPLES,) or not flat or values.dtype.kind != "f":
            raise ImportModelError(
                f"{source.name}: output {name} is {_dtype(values)} of shape {[*values.shape]} for "
                f"{_SAMPLES} examples, expected a row of floats for each; use --input tensor"
            )
        if not np.isfinite(values).all():
            raise ImportModelError(f"{source.name}: output {name} is NaN or infinite for samples")
        labels, binary = self._labels(width)
        if not labels:
            return _Interpretation(name, (), lambda output: _rows(output, 1))
        logits = self._are_logits(name, values.reshape(_SAMPLES, width))

        def convert(output: Tensor) -> Tensor:
            rows = _rows(output, width)
            if binary:
                yes = tf.sigmoid(rows) if logits else rows
                return tf.concat([1.0 - yes, yes], axis=1)
            return tf.nn.softmax(rows) if logits else rows

        return _Interpretation(name, labels, convert)

    def _labels(self, width: int) -> tuple[tuple[str, ...], bool]:
        """Return the labels, and whether the output is that of the second; () for a regression."""
        labels = self.options.labels
        if labels is None and width == 1:
            self.notes.append("one number is answered; a yes-or-no classifier gets --labels NO,YES")
            return (), False
        if labels is None:
            self.notes.append(f"classes are called 0 to {width - 1} (--labels)")
            return tuple(map(str, range(width))), False
        if len(set(labels)) != len(labels):
            twice = sorted({label for label in labels if labels.count(label) > 1})
            raise ImportModelError(f"--labels: expected different names, got {twice[0]} twice")
        binary = width == 1 and len(labels) == 2
        if binary or (len(labels) == width and width > 1):
            return labels, binary
        hint = ""
        if width == len(labels) + 1:
            hint = "; perhaps the first class is the background: add a name for it in front"
        raise ImportModelError(
            f"--labels: expected {max(2, width)} names, as {self.source.name} answers {width} "
            f"value{'s' if width > 1 else ''} for an example, got {len(labels)}{hint}"
        )

    def _are_logits(self, name: str, values: NDArray[Any]) -> bool:
        low, high = float(values.min()), float(values.max())
        shares = low >= -_SLACK and high <= 1 + _SLACK
        between = f"output {name} has values from {low:.3g} to {high:.3g}"
        if self.options.logits is not None:
            if not self.options.logits and not shares:
                raise ImportModelError(
                    f"{self.source.name}: {between}, which are not probabilities: leave out "
                    "--no-logits"
                )
            return self.options.logits
        if not shares:
            function = "softmax" if values.shape[1] > 1 else "sigmoid"
            self.notes.append(
                f"{between}: taken for logits, {function} is added (--logits or --no-logits)"
            )
        elif values.shape[1] > 1 and np.abs(values.sum(axis=1) - 1).max() > _SUM_SLACK:
            self.notes.append(
                f"output {name} is within 0…1 but does not sum to 1: taken for independent "
                "probabilities; if these are logits, add --logits"
            )
        return not shares

    def _draft(
        self,
        taken: contracts.Input,
        meaning: _Interpretation | None,
        outputs: tuple[TensorSpec, ...] = (),
    ) -> Contract:
        """Create the contract, and check that it may replace the served one."""
        task: contracts.Task = "tensors"
        if meaning is not None:
            task = "classification" if meaning.labels else "regression"
        contract = Contract(
            schema_version=contracts.SCHEMA_VERSION,
            model=self.options.name,
            version=1,
            task=task,
            input=taken,
            labels=meaning.labels if meaning else (),
            metrics={},
            created=contracts.utc_now(),
            producer=producer(),
            target=meaning.output if meaning and task == "regression" else None,
            outputs=outputs,
        )
        if not self.options.replace:
            require_compatible(self.models, contract.model, contract)
        return contract


def _golden(taken: Encoded) -> GoldenSamples:
    """Create samples as clients send them, and preprocess them.

    Images are noise, ramps and plain ones, in the model's size and in others.
    """
    random = np.random.default_rng(0)
    raw: list[Any] = []
    if isinstance(taken, contracts.ImageInput):
        height, width, channels = taken.shape
        for number in range(_SAMPLES):
            size = (height, width) if number % 2 else (height + number, width + 2 * number)
            if number % 4 == 3:
                ramp = np.linspace(0, 255, size[0] * size[1] * channels)
                array = ramp.reshape(*size, channels).astype(np.uint8)
            else:
                low, high = sorted(random.integers(0, 256, 2))
                array = random.integers(low, high + 1, (*size, channels)).astype(np.uint8)
            raw.append(encode_png(array))
    else:
        rows = random.normal(size=(_SAMPLES, len(taken.columns))).round(3).tolist()
        names = [column.name for column in taken.columns]
        raw = [dict(zip(names, row, strict=True)) for row in rows]
    tensors = np.stack([prepare(each, taken, field="a sample") for each in raw])
    return GoldenSamples(tuple(raw), tensors)


def _rows(output: Tensor, width: int) -> Tensor:
    return tf.ensure_shape(tf.cast(tf.reshape(output, [-1, width]), tf.float32), [None, width])


def _channels(spec: Any) -> int | None:
    """Return the number of channels of an image of this shape; None if it is none."""
    if spec.shape.rank != 4:
        return None
    found = next((size for size in (spec.shape[-1], spec.shape[1]) if size in (1, 3)), None)
    return None if found is None else int(found)


def _dtype(array: NDArray[Any]) -> str:
    return STRING if array.dtype.kind in "OSU" else array.dtype.name


def _shape(spec: Any) -> str:
    return f"[{', '.join(str(size) for size in spec.shape)}]"
