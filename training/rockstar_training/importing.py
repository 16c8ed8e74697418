"""Importing a model: deriving a contract from its signature, and publishing it.

Properties that the signature lacks (pixel range, meaning of outputs) are taken from the options,
detected by running the model on samples, or assumed, with a note.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rockstar_contract.contract import (
    IMAGE_INPUT,
    SCHEMA_VERSION,
    TABLE_INPUT,
    Contract,
    Encoded,
    ImageInput,
    Input,
    TableInput,
    Task,
    TensorInput,
    TensorSpec,
    utc_now,
)
from rockstar_contract.inputs import DTYPES, STRING, prepare
from rockstar_contract.preprocessing import Colour, Grey, Resize, Scale
from rockstar_contract.tables import NumericColumn
from rockstar_training.config import Kind, Pixels
from rockstar_training.contract_builder import producer, promise_of, require_compatible
from rockstar_training.export import Exported, export, export_tensors
from rockstar_training.model_source import ImportModelError, Source, opened
from rockstar_training.prepared_data import GoldenSamples
from rockstar_training.pretrained import PIXEL_CONVERSIONS
from rockstar_training.tensorflow_setup import Tensor, quiet_native_log, tf

_SAMPLES = 8
# Sizes that are tried for dimensions of unknown size.
_SIZES = (8, 16, 32, 64, 128, 224)
# Tolerance of the range 0…1 of probabilities, and of their sum.
_SLACK, _SUM_SLACK = 1e-3, 1e-2
# Layers that scale pixels, so that the model's range is 0…255.
_SCALERS = ("Rescaling", "Normalization")


@dataclass(frozen=True)
class ImportOptions:
    """Information about a model that its file lacks.

    Attributes:
        name: of the published model.
        labels: of its classes, in order; None if unknown.
        kind: of the input; None derives it from the signature.
        signature: of a SavedModel; None for serving_default, or the only one.
        output: the output with the labels or the number; None for the only one.
        columns: names of a table's columns; None numbers them.
        image_size: height and width, if the model accepts any.
        pixels: the model's pixel range: 0…1, 0…255, or a mode of keras.applications.
        logits: whether outputs are logits; None detects it.
        allow_code: allow models that can run code of their author.
        replace: publish even if the served version promises something else.
    """

    name: str
    labels: tuple[str, ...] | None = None
    kind: Kind | None = None
    signature: str | None = None
    output: str | None = None
    columns: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    pixels: Pixels | None = None
    logits: bool | None = None
    allow_code: bool = False
    replace: bool = False


@dataclass(frozen=True)
class Imported:
    """A published version, and sentences about assumptions and omissions."""

    folder: Path
    contract: Contract
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Answer:
    """The interpretation of an output.

    Attributes:
        output: its name.
        task: classification or regression.
        labels: of a classification.
        convert: maps the output [n, …] to float32 [n, labels] or [n, 1].
    """

    output: str
    task: Task
    labels: tuple[str, ...]
    convert: Callable[[Tensor], Tensor]


def import_model(path: Path, models: Path, options: ImportOptions) -> Imported:
    """Publish a model from elsewhere as the next version.

    Args:
        path: a .keras or .h5 file, or a folder with a SavedModel.
        models: the parent of the folders of models.
        options: information that the file lacks.

    Raises:
        TrainingError: it cannot be imported, or the served version promises something else.
    """
    notes: list[str] = []
    with opened(path, options.signature, allow_code=options.allow_code) as source:
        _require_usable(source)
        kind = options.kind or _suggested(source, options, notes)
        if kind == "tensor":
            exported = _import_tensors(source, models, options, notes)
        else:
            exported = _import_encoded(source, models, options, kind, notes)
    return Imported(exported.folder, exported.contract, tuple(notes))


def _require_usable(source: Source) -> None:
    if not source.inputs:
        raise ImportModelError(f"{source.name} takes no input")
    for what, specs in (("input", source.inputs), ("output", source.outputs)):
        for name, spec in specs.items():
            if not hasattr(spec, "shape") or spec.dtype.name not in DTYPES:
                kind = getattr(getattr(spec, "dtype", spec), "name", type(spec).__name__)
                raise ImportModelError(
                    f"{source.name}: {what} {name} is {kind}, expected one of {', '.join(DTYPES)}"
                )
    for name, spec in source.inputs.items():
        if spec.shape.rank is None:
            raise ImportModelError(
                f"{source.name}: the shape of input {name} is not known, not even how many "
                "dimensions it has: save the model with tf.TensorSpec([None, …]) of each input"
            )
        if spec.shape.rank == 0 or spec.shape[0] is not None:
            size = "no batch dimension" if spec.shape.rank == 0 else f"a batch of {spec.shape[0]}"
            raise ImportModelError(
                f"{source.name}: input {name} has {size}, shape {_shape(spec)}: save the model for "
                "any number of examples, its first dimension None"
            )


def _suggested(source: Source, options: ImportOptions, notes: list[str]) -> Kind:
    """Guess the kind of input from a signature."""
    spec = next(iter(source.inputs.values()))
    one = len(source.inputs) == 1 and (len(source.outputs) == 1 or options.output is not None)
    numbers = spec.dtype.is_floating or spec.dtype == tf.uint8
    # An output such as a mask has neither labels nor a number.
    answered = source.outputs.get(options.output or next(iter(source.outputs)))
    flat = answered is not None and answered.shape.rank in (None, 2)
    one = one and flat
    kind: Kind = "tensor"
    if one and numbers and spec.shape.rank == 4 and _channels(spec) is not None:
        kind = "image"
    elif one and spec.dtype.is_floating and spec.shape.rank == 2 and options.columns:
        kind = "table"
    notes.append(f"input {kind}, by the model's signature; --input says otherwise")
    return kind


def _import_encoded(
    source: Source, models: Path, options: ImportOptions, kind: Kind, notes: list[str]
) -> Exported:
    """Import a model of images or rows: one float tensor in, labels or a number out."""
    if len(source.inputs) > 1:
        raise ImportModelError(
            f"{source.name} takes {len(source.inputs)} inputs ({', '.join(source.inputs)}), an "
            f"{kind} would be one: use --input tensor"
        )
    ((name, spec),) = source.inputs.items()
    if spec.dtype == tf.string:
        raise ImportModelError(
            f"{source.name}: input {name} takes strings, not numbers; use --input tensor, and send "
            f'{{"instances": [{{"{name}": text}}]}}'
        )
    if kind == "image":
        taken, feed = _image(source, spec, options, notes)
    else:
        taken, feed = _table(source, spec, options, notes)
    golden = _golden(taken)

    def call(tensor: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = source.call(**{name: feed(tensor)})
        return outputs

    found = _run(source, lambda: call(tf.constant(golden.tensors)))
    answer = _meaning(source, found, len(golden.tensors), options, notes)

    def predict(tensor: Tensor) -> Tensor:
        return answer.convert(call(tensor)[answer.output])

    promised = _contract(options.name, taken, answer)
    _check(models, promised, options)
    trackables = [] if source.owner is None else [source.owner]
    try:
        return export(predict, trackables, promised, golden, models)
    except Exception as error:  # the converter raises anything for operations that LiteRT lacks
        exported = export(predict, trackables, promised, golden, models, litert=False)
        notes.append(_without_litert(error))
        return exported


def _import_tensors(
    source: Source, models: Path, options: ImportOptions, notes: list[str]
) -> Exported:
    """Import a model of named tensors, with all outputs as tensors or one output with labels."""
    taken = TensorInput(
        tensors=tuple(
            TensorSpec(name=name, dtype=spec.dtype.name, shape=tuple(spec.shape[1:]))
            for name, spec in sorted(source.inputs.items())
        )
    )
    golden, found = _tensor_samples(source, taken)
    if options.labels is None:
        for name, array in found.items():
            if array.shape[:1] != (_SAMPLES,):
                raise ImportModelError(
                    f"{source.name}: output {name} has shape {[*array.shape]} for {_SAMPLES} "
                    "examples, expected a row for each: leave it out with --output, or save the "
                    "model so that the first dimension is the batch"
                )
        names = [options.output] if options.output else [*found]
        _require_output(source, options.output)
        outputs = tuple(
            TensorSpec(
                name=name,
                dtype=_dtype(found[name]),
                # Without the batch, as far as the signature determines it.
                shape=(
                    (None,) * (found[name].ndim - 1)
                    if source.outputs[name].shape.rank is None
                    else tuple(source.outputs[name].shape[1:])
                ),
            )
            for name in sorted(names)
        )
        promised = _contract(options.name, taken, None, outputs)

        def call(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            answered = source.call(**tensors)
            return {name: answered[name] for name in names}

    else:
        answer = _meaning(source, found, _SAMPLES, options, notes)
        promised = _contract(options.name, taken, answer)

        def call(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {promised.output: answer.convert(source.call(**tensors)[answer.output])}

    _check(models, promised, options)
    trackables = [] if source.owner is None else [source.owner]
    exported, problem = export_tensors(call, trackables, promised, golden, models)
    if problem:
        notes.append(_without_litert(problem))
    return exported


def _check(models: Path, promised: Contract, options: ImportOptions) -> None:
    if not options.replace:
        require_compatible(models, options.name, promise_of(promised))


def _image(
    source: Source, spec: Any, options: ImportOptions, notes: list[str]
) -> tuple[Encoded, Callable[[Tensor], Tensor]]:
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
            raise ImportModelError(
                f"{source.name} takes images of {height} x {width}, not {wanted[0]} x {wanted[1]}"
            )
        height, width = wanted
    if height is None or width is None:
        raise ImportModelError(
            f"{source.name} takes images of any size ({_shape(spec)}): say which one it was "
            "trained on, such as --image-size 224"
        )
    pixels = options.pixels
    if pixels is None:
        scales = any(layer in _SCALERS for layer in source.layers)
        pixels = "0-255" if scales or spec.dtype == tf.uint8 else "0-1"
        why = (
            "it scales them itself"
            if scales
            else "its input is uint8"
            if pixels == "0-255"
            else "nothing says otherwise"
        )
        notes.append(
            f"pixels are given to the model as {pixels.replace('-', '…')}: {why} (--pixels)"
        )
    taken = ImageInput(
        name=IMAGE_INPUT,
        dtype="float32",
        shape=(height, width, channels),
        range=(0.0, 1.0),
        preprocessing=(
            Grey() if channels == 1 else Colour(),
            Scale(),
            Resize(height=height, width=width),
        ),
    )

    if pixels in ("torch", "caffe") and channels != 3:
        raise ImportModelError(f"--pixels {pixels} is for colour images, this model's are grey")

    def feed(image: Tensor) -> Tensor:
        scaled = PIXEL_CONVERSIONS[pixels](image)
        scaled = tf.transpose(scaled, [0, 3, 1, 2]) if first else scaled
        return tf.cast(tf.round(scaled) if spec.dtype.is_integer else scaled, spec.dtype)

    return taken, feed


def _table(
    source: Source, spec: Any, options: ImportOptions, notes: list[str]
) -> tuple[Encoded, Callable[[Tensor], Tensor]]:
    if spec.shape.rank != 2 or not spec.dtype.is_floating or spec.shape[1] is None:
        raise ImportModelError(
            f"{source.name}: a row is float [None, columns], its input is {spec.dtype.name} "
            f"{_shape(spec)}; use --input tensor"
        )
    width = int(spec.shape[1])
    names = options.columns or tuple(f"column_{number}" for number in range(1, width + 1))
    if len(names) != width:
        raise ImportModelError(f"{source.name} takes {width} columns, --columns names {len(names)}")
    if options.columns is None:
        notes.append(f"columns are called {names[0]} to {names[-1]} (--columns)")
    notes.append("numbers reach the model as they are sent; a missing one is an error")
    columns = tuple(NumericColumn(name=name, mean=0.0, scale=1.0) for name in names)
    taken = TableInput(name=TABLE_INPUT, dtype="float32", shape=(width,), columns=columns)
    return taken, lambda rows: tf.cast(rows, spec.dtype)


def _golden(taken: Encoded) -> GoldenSamples:
    """Create samples as clients send them, and preprocess them.

    Images are noise, ramps and plain ones, in the model's size and in others.
    """
    random = np.random.default_rng(0)
    raw: list[Any] = []
    if isinstance(taken, ImageInput):
        height, width, channels = taken.shape
        for number in range(_SAMPLES):
            size = (height, width) if number % 2 else (height + number, width + 2 * number)
            if number % 4 == 3:
                ramp = np.linspace(0, 255, size[0] * size[1] * channels)
                array = ramp.reshape(*size, channels).astype(np.uint8)
            else:
                low, high = sorted(random.integers(0, 256, 2))
                array = random.integers(low, high + 1, (*size, channels)).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(array[:, :, 0] if channels == 1 else array).save(file, "PNG")
            raw.append(file.getvalue())
    else:
        rows = random.normal(size=(_SAMPLES, len(taken.columns))).round(3).tolist()
        names = [column.name for column in taken.columns]
        raw = [dict(zip(names, row, strict=True)) for row in rows]
    tensors = np.stack([prepare(each, taken, field="a sample") for each in raw])
    return GoldenSamples(tuple(raw), tensors)


def _tensor_samples(
    source: Source, taken: TensorInput
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Find samples that a model can run on, and its outputs for them."""
    sizes = _SIZES if any(None in tensor.shape for tensor in taken.tensors) else _SIZES[:1]
    problem = ImportModelError(f"{source.name} does not run on sample inputs")
    for number, size in enumerate(sizes):
        samples: dict[str, NDArray[Any]] = {}
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
            return samples, _run(source, partial(source.call, **feeds))
        except ImportModelError as error:
            problem = error if number == 0 else problem
    raise problem


def _run(source: Source, call: Callable[[], dict[str, Tensor]]) -> dict[str, NDArray[Any]]:
    try:
        with quiet_native_log():
            return {name: np.asarray(value) for name, value in call().items()}
    except ImportModelError:
        raise
    except Exception as error:  # whatever the operations of a model raise
        said = " ".join(str(error).split())[:300]
        raise ImportModelError(f"{source.name} does not run on sample inputs: {said}") from error


def _meaning(
    source: Source,
    found: dict[str, NDArray[Any]],
    examples: int,
    options: ImportOptions,
    notes: list[str],
) -> _Answer:
    """Interpret an output by its values for the samples."""
    _require_output(source, options.output)
    if options.output is None and len(found) > 1:
        raise ImportModelError(
            f"{source.name} has several outputs ({', '.join(sorted(found))}): name the one with "
            "--output, or answer all of them with --input tensor and without --labels"
        )
    name = options.output or next(iter(found))
    values = found[name]
    width = int(np.prod(values.shape[1:]))
    flat = values.ndim <= 2 or sum(size > 1 for size in values.shape[1:]) <= 1
    if values.shape[:1] != (examples,) or not flat or values.dtype.kind != "f":
        raise ImportModelError(
            f"{source.name}: output {name} is {_dtype(values)} of shape {[*values.shape]} for "
            f"{examples} examples, expected a row of floats for each; use --input tensor"
        )
    if not np.isfinite(values).all():
        raise ImportModelError(f"{source.name}: output {name} is NaN or infinite for samples")
    values = values.reshape(examples, width)
    labels, binary = _labels(source, width, options, notes)
    if not labels:
        return _Answer(name, "regression", (), lambda out: _rows(out, 1))
    logits = _are_logits(source, name, values, options, notes)
    if binary:

        def convert(out: Tensor) -> Tensor:
            yes = tf.sigmoid(_rows(out, 1)) if logits else _rows(out, 1)
            return tf.concat([1.0 - yes, yes], axis=1)

    else:

        def convert(out: Tensor) -> Tensor:
            return tf.nn.softmax(_rows(out, width)) if logits else _rows(out, width)

    return _Answer(name, "classification", labels, convert)


def _labels(
    source: Source, width: int, options: ImportOptions, notes: list[str]
) -> tuple[tuple[str, ...], bool]:
    """Return the labels, none for a regression; and whether the output is that of the second."""
    labels = options.labels
    if labels is None and width == 1:
        notes.append("one number is answered; a yes-or-no classifier gets --labels NO,YES")
        return (), False
    if labels is None:
        notes.append(f"classes are called 0 to {width - 1} (--labels)")
        return tuple(map(str, range(width))), False
    if len(set(labels)) != len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ImportModelError(f"--labels: expected different names, got {twice[0]} twice")
    if width == 1 and len(labels) == 2:
        return labels, True
    if len(labels) == width and width > 1:
        return labels, False
    hint = ""
    if width == len(labels) + 1:
        hint = "; perhaps the first class is the background: add a name for it in front"
    raise ImportModelError(
        f"--labels: expected {max(2, width)} names, as {source.name} answers {width} "
        f"value{'s' if width > 1 else ''} for an example, got {len(labels)}{hint}"
    )


def _are_logits(
    source: Source,
    name: str,
    values: NDArray[Any],
    options: ImportOptions,
    notes: list[str],
) -> bool:
    low, high = float(values.min()), float(values.max())
    shares = low >= -_SLACK and high <= 1 + _SLACK
    if options.logits is not None:
        if not options.logits and not shares:
            raise ImportModelError(
                f"{source.name}: output {name} has values from {low:.3g} to {high:.3g}, which are "
                "no probabilities: leave out --no-logits"
            )
        return options.logits
    if not shares:
        function = "softmax" if values.shape[1] > 1 else "sigmoid"
        notes.append(
            f"output {name} has values from {low:.3g} to {high:.3g}: taken for logits, {function} "
            "is added (--logits or --no-logits)"
        )
        return True
    if values.shape[1] > 1 and np.abs(values.sum(axis=1) - 1).max() > _SUM_SLACK:
        notes.append(
            f"output {name} is within 0…1 but does not sum to 1: taken for independent "
            "probabilities; if these are logits, add --logits"
        )
    return False


def _rows(output: Tensor, width: int) -> Tensor:
    return tf.ensure_shape(tf.cast(tf.reshape(output, [-1, width]), tf.float32), [None, width])


def _contract(
    name: str,
    taken: Input,
    answer: _Answer | None,
    outputs: tuple[TensorSpec, ...] = (),
) -> Contract:
    regression = answer is not None and answer.task == "regression"
    return Contract(
        schema_version=SCHEMA_VERSION,
        model=name,
        version=1,
        task=answer.task if answer else "tensors",
        input=taken,
        labels=answer.labels if answer else (),
        metrics={},
        created=utc_now(),
        producer=producer(),
        target=answer.output if answer and regression else None,
        outputs=outputs,
    )


def _require_output(source: Source, wanted: str | None) -> None:
    if wanted is not None and wanted not in source.outputs:
        raise ImportModelError(
            f"{source.name} has no output {wanted}; it has {', '.join(sorted(source.outputs))}"
        )


def _without_litert(error: object) -> str:
    # The converter's long message has the names of operations as tf.Name.
    missing = sorted(set(re.findall(r"\btf\.([A-Z]\w*)", str(error))))
    why = f" ({', '.join(missing[:5])} not in LiteRT)" if missing else ""
    return (
        f"LiteRT cannot run this model{why}: it is published without model.tflite, and needs "
        "TensorFlow where it is served"
    )


def _channels(spec: Any) -> int | None:
    """Return the number of channels of an image of this shape; None if it is none."""
    if spec.shape.rank != 4:
        return None
    last, second = spec.shape[-1], spec.shape[1]
    found = next((size for size in (last, second) if size in (1, 3)), None)
    return None if found is None else int(found)


def _dtype(array: NDArray[Any]) -> str:
    return STRING if array.dtype.kind in "OSU" else array.dtype.name


def _shape(spec: Any) -> str:
    return f"[{', '.join(str(size) for size in spec.shape)}]"
