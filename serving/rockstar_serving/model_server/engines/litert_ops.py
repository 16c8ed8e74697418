"""Ops of LiteRT models that LiteRT's wheel has no kernel for.

TensorFlow Serving links in TensorFlow's own ops, which the converter writes as `Flex…`
(SELECT_TF_OPS). Since 2.20 no wheel has them, not even TensorFlow's (google-ai-edge/LiteRT#6458).
"""

_FLEX = "Flex"
# Beginnings of the custom ops that can be run; most are in LiteRT's own `register.cc`.
_SUPPORTED = (
    "ParseExample",  # see litert_examples
    *("AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"),
    *("aeq.", "odml."),
)


def unsupported_ops(content: bytes) -> str:
    """What a model needs that LiteRT lacks, and what to do; "" where it has all.

    Args:
        content: of a model.tflite; what is damaged may raise anything.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
    custom = sorted({name.decode() for code in codes if (name := code.CustomCode())})
    missing = [op for op in custom if not op.startswith(_SUPPORTED)]
    if not missing:
        return ""
    own = [op for op in missing if not op.startswith(_FLEX)]
    kinds, setting = ("custom ops", "custom ops") if own else ("TensorFlow's ops", "SELECT_TF_OPS")
    return (
        f"{kinds} that LiteRT does not have ({', '.join(own or missing)}): convert it without "
        f"{setting}, or publish its SavedModel and install TensorFlow (pip install "
        "'rockstartf[train]')"
    )
