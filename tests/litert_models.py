"""LiteRT files, alone and beside their SavedModels; see saved_models."""

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.saved_models import named_function

# Dtypes of make_both() and make_casts() that LiteRT supports.
LITERT_NUMBERS = ("float32", "int32", "int64")
LITERT_DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "complex64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"),
)


def make_both(folder: Path) -> None:
    """A SavedModel and the LiteRT file of it, with signatures that LiteRT can run too.

    - `serving_default`: two inputs, of which the second, a scalar, scales the first; two outputs
    - `linear`: y = x @ [[1], [2]] (a variable), float32 [?, 2] in
    - `convolved`: float32 [?, 4, 4, 1] in and out; LiteRT's kernel needs an example
    - `twice_<dtype>` for LITERT_NUMBERS, and `any_rank`: 2 x
    - `reversed`: strings in and out, in the opposite order; `word`: one string in, [1] out
    - `as_rows`: reshaped to rows of 3, an error if the number of values does not fit
    - `constant`: nothing in, [1, 2, 3] out
    """
    _save_both(folder)
    (folder / "model.tflite").write_bytes(_litert_of_both())


def make_casts(folder: Path) -> None:
    """A SavedModel and its LiteRT file: `from_<dtype>` to float32, `to_<dtype>` from it, [?]."""
    import tensorflow as tf

    signatures = {}
    for dtype in LITERT_DTYPES:
        signatures[f"from_{dtype}"] = named_function(
            lambda x: {"y": tf.cast(x, tf.float32)}, x=tf.TensorSpec([None], dtype)
        )
        signatures[f"to_{dtype}"] = named_function(
            lambda x, dtype=dtype: {"y": tf.cast(x, dtype)}, x=tf.TensorSpec([None])
        )
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    (folder / "model.tflite").write_bytes(converted(folder, list(signatures)))


def make_litert(folder: Path) -> None:
    """The LiteRT file of make_both() alone: the folder has only model.tflite."""
    folder.mkdir()
    (folder / "model.tflite").write_bytes(_litert_of_both())


def make_nameless(folder: Path) -> None:
    """A LiteRT file without signatures, as old converters wrote them: y = 2 x, float32 [?, 2]."""
    import tensorflow as tf

    function = named_function(lambda x: x + x, x=tf.TensorSpec([None, 2]))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    folder.mkdir()
    (folder / "model.tflite").write_bytes(converter.convert())


def make_parsing(folder: Path) -> None:
    """A SavedModel and its LiteRT file, whose graphs parse tf.Examples.

    - `serving_default`: `inputs` string [?] in, `scores` 2 x, `classes` and `first`, the first of x,
      out; x is float [3] and required, classes string [3] with a default
    - `features`: `examples` in; the dense `count` (int64 [], 7 by default), and all of the sparse
      `ids` (int64) and `words` (string), as `ids_indices` and so on
    """
    import tensorflow as tf

    fixed, ragged = tf.io.FixedLenFeature, tf.io.VarLenFeature

    def classify(inputs: Any) -> Any:
        parsed = tf.io.parse_example(
            inputs, {"x": fixed([3], tf.float32), "classes": fixed([3], tf.string, ["none"] * 3)}
        )
        x = parsed["x"]
        return {"scores": x * 2, "classes": parsed["classes"], "first": x[:, :1] + 0.0}

    def features(examples: Any) -> Any:
        kinds = {"ids": ragged(tf.int64), "words": ragged(tf.string)}
        parsed = tf.io.parse_example(examples, {"count": fixed([], tf.int64, 7), **kinds})
        outputs = {"count": parsed["count"] + 1}
        for name in kinds:
            sparse = parsed[name]
            outputs[f"{name}_indices"] = sparse.indices
            outputs[f"{name}_values"] = sparse.values
            outputs[f"{name}_shape"] = sparse.dense_shape
        return outputs

    texts = tf.TensorSpec([None], tf.string)
    signatures = {
        "serving_default": named_function(classify, inputs=texts),
        "features": named_function(features, examples=texts),
    }
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    content = converted(folder, list(signatures), allow_custom_ops=True)
    (folder / "model.tflite").write_bytes(content)


def rewritten(content: bytes, change: Callable[[Any], None]) -> bytes:
    """A LiteRT file after a change to its ModelT, the FlatBuffers schema's object."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    change(model)
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def without_a_constant(content: bytes) -> bytes:
    """A damaged LiteRT file: running its signature `contract` ends the process."""

    def change(model: Any) -> None:
        (constant,) = (
            tensor
            for graph in model.subgraphs
            for tensor in graph.tensors
            if tensor.type == 5 and model.buffers[tensor.buffer].data is not None  # a string
        )
        constant.buffer = 0  # the empty one

    return rewritten(content, change)


def with_signature_defs(content: bytes, messages: Mapping[str, Any]) -> bytes:
    """A LiteRT file with SignatureDef messages in its metadata; `signature_def_util.cc` writes so.

    Signatures that it has already are removed, as the tools that wrote such metadata knew none.
    """
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import flexbuffers

    metadata = flexbuffers.Builder()
    with metadata.Map():
        for name, message in sorted(messages.items()):
            # This builder writes text only; a message without negative sizes is text, too.
            metadata.String(name, message.SerializeToString().decode("ascii"))

    def change(model: Any) -> None:
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer = "signature_defs_metadata", len(model.buffers)
        buffer.data = list(metadata.Finish())
        model.signatureDefs = None
        model.metadata.append(entry)
        model.buffers.append(buffer)

    return rewritten(content, change)


def make_heavy(folder: Path) -> None:
    """A SavedModel and its LiteRT file, of 8 MB of weights: y = x @ weights, float32 [?, 1000]."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(np.ones((1000, 2000), np.float32))
    signature = named_function(lambda x: {"y": x @ module.weights}, x=tf.TensorSpec([None, 1000]))
    tf.saved_model.save(module, str(folder), signatures=signature)
    (folder / "model.tflite").write_bytes(converted(folder, ["serving_default"]))


def make_quantized(folder: Path) -> None:
    """A LiteRT file whose input and output are int8: quantized in full, `x` [?, 4], `y` [?, 2]."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2))
    signature = named_function(
        lambda x: {"y": tf.nn.relu(x @ module.weights)}, x=tf.TensorSpec([None, 4])
    )
    saved_model = folder.with_name(f"{folder.name}.saved_model")
    tf.saved_model.save(module, str(saved_model), signatures=signature)

    def samples() -> Iterator[dict[str, Any]]:
        for _ in range(20):
            yield {"x": np.linspace(-1, 1, 4, dtype=np.float32)[None]}

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    folder.mkdir()
    (folder / "model.tflite").write_bytes(converter.convert())
    shutil.rmtree(saved_model)


def _save_both(folder: Path) -> list[str]:
    import tensorflow as tf

    def twice(x: Any) -> Any:
        return {"y": x + x}

    module = tf.Module()
    module.weights = tf.Variable([[1.0], [2.0]])
    kernel = np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3, 1, 1)
    signatures = {
        "serving_default": named_function(
            lambda x, scale: {"scaled": x * scale, "total": tf.reduce_sum(x * scale, axis=1)},
            x=tf.TensorSpec([None, 3]),
            scale=tf.TensorSpec([]),
        ),
        "linear": named_function(lambda x: {"y": x @ module.weights}, x=tf.TensorSpec([None, 2])),
        "convolved": named_function(
            lambda image: {"y": tf.nn.conv2d(image, kernel, 1, "SAME")},
            image=tf.TensorSpec([None, 4, 4, 1]),
        ),
        **{
            f"twice_{n}": named_function(twice, x=tf.TensorSpec([None, 2], n))
            for n in LITERT_NUMBERS
        },
        "any_rank": named_function(twice, x=tf.TensorSpec(None)),
        "reversed": named_function(
            lambda text: {"text": tf.gather(text, tf.range(tf.size(text) - 1, -1, -1))},
            text=tf.TensorSpec([None], tf.string),
        ),
        "word": named_function(
            lambda word: {"words": tf.reshape(word, [1])}, word=tf.TensorSpec([], tf.string)
        ),
        "as_rows": named_function(
            lambda x: {"rows": tf.reshape(x, [-1, 3])}, x=tf.TensorSpec([None], tf.int32)
        ),
        "constant": named_function(lambda: {"y": tf.constant([1.0, 2.0, 3.0])}),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return list(signatures)


@functools.cache
def _litert_of_both() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return converted(Path(folder), _save_both(Path(folder)))


def converted(saved_model: Path, signatures: list[str], **settings: bool) -> bytes:
    """The LiteRT file of a SavedModel."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=signatures
    )
    for name, value in settings.items():
        setattr(converter, name, value)
    content: bytes = converter.convert()
    return content
