"""Tiny SavedModels, created in every way that TensorFlow offers.

Nothing here is adapted to this project. Each maker writes one version folder; the
fixture `saved_models` creates the models that tests request, once per run:
`saved_models.version(make_tf1)` is the folder, its parent the base path.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from rockstar_contract.manifest import write_manifest

# The dtypes of the signatures `twice_<dtype>` of make_dtypes().
NUMBERS = (
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
WORDS = ("ash", "birch", "cedar")
SPECIES = (b"setosa", b"virginica")


class SavedModels:
    """Version folders, `<folder>/<model>/1`, made when they are first used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def version(self, make: Callable[[Path], None]) -> Path:
        """The version folder that a maker writes; its parent is the base path."""
        name = make.__name__.removeprefix("make_")
        version = self._folder / name / "1"
        self._folder.mkdir(exist_ok=True)
        with FileLock(self._folder / f"{name}.lock"):
            if not version.exists():
                aside = self._folder / f".{name}"
                with _quiet():
                    make(aside)
                write_manifest(aside)  # or each load would be tried in a process of its own
                version.parent.mkdir()
                aside.rename(version)
        return version


def make_dtypes(folder: Path) -> None:
    """A tf.Module with a signature for each dtype: `twice_<dtype>`, `negated`, `shouted`."""
    import tensorflow as tf

    def twice(x: Any) -> Any:
        return {"y": x + x}

    signatures = {
        f"twice_{n}": named_function(twice, x=tf.TensorSpec([None, 2], n)) for n in NUMBERS
    }
    signatures["negated"] = named_function(
        lambda x: {"y": tf.logical_not(x)}, x=tf.TensorSpec([None], tf.bool)
    )
    signatures["shouted"] = named_function(
        lambda text: {"text_bytes": tf.strings.upper(text), "length": tf.strings.length(text)},
        text=tf.TensorSpec([None, None], tf.string),
    )
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


def make_shapes(folder: Path) -> None:
    """Signatures by shape, and some that fail.

    - `serving_default`: two inputs of which the second, a scalar, scales the first; two outputs
    - `scalar` and `any_rank`: 2 x
    - `constant`: nothing in, [1, 2, 3] out
    - `divided`: a // b of int32, an error where b is 0
    - `as_rows`: reshaped to rows of 3, an error if the number of values does not fit
    - `checked`: x, an error of tf.debugging if it is negative
    - `slow`: adds 1 a given number of times
    """
    import tensorflow as tf

    def twice(x: Any) -> Any:
        return {"y": x + x}

    def count(times: Any) -> Any:
        return {"y": tf.while_loop(lambda n: n < times, lambda n: (n + 1,), (0,))[0]}

    def checked(x: Any) -> Any:
        with tf.control_dependencies(
            [tf.debugging.assert_non_negative(x, "x must not be below 0")]
        ):
            return {"y": tf.identity(x)}

    signatures = {
        "serving_default": named_function(
            lambda x, scale: {"scaled": x * scale, "total": tf.reduce_sum(x * scale, axis=1)},
            x=tf.TensorSpec([None, 3]),
            scale=tf.TensorSpec([]),
        ),
        "scalar": named_function(twice, x=tf.TensorSpec([])),
        "any_rank": named_function(twice, x=tf.TensorSpec(None)),
        "constant": named_function(lambda: {"y": tf.constant([1.0, 2.0, 3.0])}),
        "divided": named_function(
            lambda a, b: {"y": a // b},
            a=tf.TensorSpec([None], tf.int32),
            b=tf.TensorSpec([None], tf.int32),
        ),
        "as_rows": named_function(
            lambda x: {"rows": tf.reshape(x, [-1, 3])}, x=tf.TensorSpec([None], tf.int32)
        ),
        "checked": named_function(checked, x=tf.TensorSpec([None])),
        "slow": named_function(count, times=tf.TensorSpec([], tf.int32)),
    }
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


def make_keras(folder: Path) -> None:
    """A Keras model from `Model.export`: float32 [?, 4] in, float32 [?, 2] out."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), name="measurements")
    hidden = keras.layers.Dense(5, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="class")(hidden))
    model.export(folder, verbose=False)


def make_tf1(folder: Path) -> None:
    """A model of TensorFlow 1: a graph, a builder, signatures by signature_def_utils.

    Of two features `x` the model makes the scores x @ [[1, -1], [2, -2]] (a variable).

    - `serving_default`: predict, float32 `x` [?, 2] in, `scores` [?, 2] out
    - `classify`: tf.Example in; the SPECIES and the scores out, [?, 2]
    - `classify_scores`, `classify_classes`: only one of these outputs
    - `regress`: tf.Example in, the first score out, [?, 1]
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    utils, tensor_info = v1.saved_model.signature_def_utils, v1.saved_model.utils.build_tensor_info
    with tf.Graph().as_default(), v1.Session() as session:
        weights = v1.get_variable("weights", initializer=tf.constant([[1.0, -1.0], [2.0, -2.0]]))
        x = v1.placeholder(tf.float32, [None, 2], "x")
        examples = v1.placeholder(tf.string, [None], "tf_example")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([2], tf.float32)})
        scores = tf.matmul(parsed["x"], weights, name="scores")
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant([0, 1], tf.int64), tf.constant(SPECIES)
            ),
            "unknown",
        )
        classes = table.lookup(tf.tile(tf.constant([[0, 1]], tf.int64), [tf.shape(scores)[0], 1]))
        signatures = {
            "serving_default": utils.build_signature_def(
                {"x": tensor_info(x)},
                {"scores": tensor_info(tf.matmul(x, weights))},
                tf.saved_model.PREDICT_METHOD_NAME,
            ),
            "classify": utils.classification_signature_def(examples, classes, scores),
            "classify_scores": utils.classification_signature_def(examples, None, scores),
            "classify_classes": utils.classification_signature_def(examples, classes, None),
            "regress": utils.regression_signature_def(examples, scores[:, :1]),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, [tf.saved_model.SERVING], signatures, main_op=v1.tables_initializer()
        )
        builder.save()


def make_examples(folder: Path) -> None:
    """TensorFlow 2, tf.Example parsed in the graph; all signatures are of the predict method.

    - `serving_default`: `examples` string [?] in; of the features x (float [2]), word (string, with
      a default) and ids (int64, any number) the outputs `total`, `word` and `sum_of_ids`
    """
    import tensorflow as tf

    features = {
        "x": tf.io.FixedLenFeature([2], tf.float32),
        "word": tf.io.FixedLenFeature([], tf.string, "none"),
        "ids": tf.io.VarLenFeature(tf.int64),
    }

    def parse(examples: Any) -> Any:
        parsed = tf.io.parse_example(examples, features)
        return {
            "total": tf.reduce_sum(parsed["x"], axis=1),
            "word": parsed["word"],
            "sum_of_ids": tf.sparse.reduce_sum(parsed["ids"], axis=1),
        }

    signature = named_function(parse, examples=tf.TensorSpec([None], tf.string))
    tf.saved_model.save(tf.Module(), str(folder), signatures=signature)


def make_vocabulary(folder: Path) -> None:
    """Maps words to numbers with a table whose vocabulary is an asset; unknown words: 3."""
    import tensorflow as tf

    file = folder.with_name(f"{folder.name}.vocabulary.txt")
    file.write_text("".join(f"{word}\n" for word in WORDS))
    module = tf.Module()
    module.table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(file),
            *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
            *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
        ),
        num_oov_buckets=1,
    )
    signature = named_function(
        lambda words: {"ids": module.table.lookup(words)}, words=tf.TensorSpec([None], tf.string)
    )
    tf.saved_model.save(module, str(folder), signatures=signature)
    file.unlink()


def make_defaults(folder: Path) -> None:
    """A signature with an optional input `scale`, by default 2: y = scale x, float32 [?]."""
    import tensorflow as tf

    class Scaled(tf.Module):  # type: ignore[misc]
        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec([None], name="x"), tf.TensorSpec([], name="scale")]
        )
        def scaled(self, x: Any, scale: Any = tf.constant(2.0)) -> Any:  # noqa: B008
            return {"y": x * scale}

    module = Scaled()
    tf.saved_model.save(module, str(folder), signatures=module.scaled)


def make_composite(folder: Path) -> None:
    """TensorFlow 1: a signature that takes a sparse tensor and gives a ragged one, and a plain one.

    - `serving_default`: float32 `x` [?] in, twice that out
    - `sparse`: `x` in as a SparseTensor, its `rows` out as a RaggedTensor
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    tensor_info = v1.saved_model.utils.build_tensor_info
    with tf.Graph().as_default(), v1.Session() as session:
        plain = v1.placeholder(tf.float32, [None])
        sparse = v1.sparse_placeholder(tf.float32, [None, None])
        rows = tf.RaggedTensor.from_sparse(sparse)
        build = v1.saved_model.signature_def_utils.build_signature_def
        predict = tf.saved_model.PREDICT_METHOD_NAME
        signatures = {
            "serving_default": build(
                {"x": tensor_info(plain)}, {"y": tensor_info(plain + plain)}, predict
            ),
            "sparse": build({"x": tensor_info(sparse)}, {"rows": tensor_info(rows)}, predict),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, [tf.saved_model.SERVING], signatures)
        builder.save()


def example(**features: Sequence[float] | Sequence[int] | Sequence[bytes]) -> bytes:
    """A serialized tf.Example; lists of float, int or bytes."""
    import tensorflow as tf

    made = {}
    for name, values in features.items():
        if isinstance(values[0], bytes):
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        elif isinstance(values[0], float):
            made[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    serialized: bytes = tf.train.Example(
        features=tf.train.Features(feature=made)
    ).SerializeToString()
    return serialized


def named_function(function: Callable[..., Any], **specs: Any) -> Any:
    """A concrete function whose inputs are named as the parameters."""
    import tensorflow as tf

    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
    return tf.function(function).get_concrete_function(**named)


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore warnings that TensorFlow raises about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
