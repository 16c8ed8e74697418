"""Preprocessing steps and metrics in words, for people who will never read the contract's JSON."""

import re
from collections.abc import Mapping, Sequence

import msgspec

_SHORT = {"f1": "F1", "auc": "area under the ROC curve", "r2": "R²", "rmse": "RMSE"}
_METRICS = {
    "test_balanced_accuracy": "Balanced accuracy (mean recall of the classes)",
    "test_f1": "F1 (mean over the classes)",
    "test_auc": "Area under the ROC curve (mean over the classes)",
    "test_loss": "Loss on held-out examples",
    "train_accuracy": "Accuracy on training examples",
}
# What each step of rockstar_contract.preprocessing does; the names in braces are its parameters.
_WORDS = {
    "grey": "Colours become grey (luma as in ITU-R BT.601).",
    "scale": "Pixel values of 0 to {maximum:g} become 0 to 1.",
    "stretch_contrast": "The contrast is stretched: the darkest value becomes 0, the lightest 1.",
    "invert_if_light": "A light background is turned into a dark one, so that ink is light on "
    "dark whichever way it came; the border tells the background.",
    "suppress_background": "Values up to {level:g} become background, and the rest is spread over "
    "0 to 1 again.",
    "colour": "Grey images become colour, all channels alike.",
    "suppress_border": "What is no lighter than the border usually is becomes background.",
    "crop_to_content": "The image is cropped to the smallest box that holds every value above "
    "{threshold:g}.",
    "fit": "It is resized, keeping its aspect, to fit within {height} x {width}.",
    "resize": "It is resized to {height} x {width}, whatever its aspect.",
    "centre_on_cell": "It is placed on a dark canvas of {height} x {width}, its centre of mass in "
    "the cell right below the middle.",
    "centre": "It is placed on a dark canvas of {height} x {width}, its centre of mass in the "
    "middle.",
}


def metrics_in_words(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Names and values of figures, but for the headline; a spread stands behind its mean."""
    rows = []
    for name, value in metrics.items():
        if name == "test_accuracy" or name.endswith("_std"):
            continue
        if f"{name}_std" in metrics:
            words = name.removeprefix("cv_").replace("_", " ")
            words = f"Cross-validation, {_SHORT.get(words, words)}"
            rows.append((words, f"{value:.4g} ± {metrics[f'{name}_std']:.2g}"))
        else:
            words = _METRICS.get(name, name.replace("_", " ").capitalize())
            rows.append((words, f"{value:.6g}"))
    return rows


def in_words(steps: Sequence[msgspec.Struct]) -> list[str]:
    """A sentence for each step, in order; of a step that has none, its name and parameters."""
    return [_sentence(step) for step in steps]


def _sentence(step: msgspec.Struct) -> str:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(step).__name__).lower()
    parameters = msgspec.structs.asdict(step)
    try:
        return _WORDS[name].format(**parameters)
    except KeyError:
        told = ", ".join(f"{key} {value}" for key, value in parameters.items())
        return f"{name.replace('_', ' ').capitalize()}{f' ({told})' if told else ''}."
