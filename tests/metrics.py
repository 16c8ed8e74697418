"""Parses metrics."""

from prometheus_client.parser import text_string_to_metric_families

CORE = ":tensorflow:core:"
SERVING = ":tensorflow:serving:"
SAVED_MODEL = ":tensorflow:cc:saved_model:"


def samples(text: str) -> dict[tuple[str, ...], float]:
    """All samples by name and label values, in the order of the text."""
    return {
        (_name(sample.name, text), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def totals(text: str) -> dict[tuple[str, ...], float]:
    """Counters, and the sums and counts of histograms."""
    return {key: value for key, value in samples(text).items() if not key[0].endswith("_bucket")}


def _name(name: str, text: str) -> str:
    # prometheus_client's parser adds this suffix to counters without it.
    return name if f"{name}{{" in text else name.removesuffix("_total")
