"""A folder of models: manifests, contracts, LiteRT files, and where labels point."""

from collections.abc import Iterator
from pathlib import Path

from commandline.checks.finding import Finding
from serving.model_folder import ModelFolderError
from serving.model_server.engines.engine import LoadError
from serving.model_server.engines.litert import RUNTIME
from serving.model_server.options import EngineOptions
from serving.registry import Verdict, Version, dangling_labels, list_versions, verify

_COPY_AGAIN = (
    "copy it again from where it was published, or publish it with rockstar train or import"
)


def check_models(models: Path) -> Iterator[Finding]:
    """Every version of every model in a folder, and its labels."""
    try:
        versions = list_versions(models)
        verdicts = {(each.model, each.number): each for each in verify(models)}
        dangling = dangling_labels(models)
    except ModelFolderError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(str(models), "failed", what, fix)
        return
    for version in versions:
        yield _check(version, verdicts[version.model, version.number])
    for sentence in dangling:
        yield Finding("labels", "failed", sentence, "rockstar promote points a label elsewhere")


def _check(version: Version, verdict: Verdict) -> Finding:
    subject = f"{version.model}/{version.number}"
    # What is not as it was published is not handed to a runtime.
    if verdict.problem:
        return Finding(subject, "failed", verdict.problem, _COPY_AGAIN)
    if version.problem:
        return Finding(
            subject, "failed", version.problem, "publish it with rockstar train or import"
        )
    if RUNTIME.file_in(version.folder) is None:
        return _without_litert(version, verdict.files)
    if not RUNTIME.installed:
        detail = (
            f"manifest and contract; {RUNTIME.name} is not installed to load {RUNTIME.files[0]}"
        )
        return Finding(subject, "skipped", detail, RUNTIME.install)
    try:
        engine = RUNTIME.load(version.folder, EngineOptions(prefer_tflite=True))
    except LoadError as error:
        return Finding(subject, "failed", str(error), _COPY_AGAIN)
    signatures = len(engine.signatures)
    engine.close()
    detail = f"{verdict.files} files as published, contract, {signatures} signatures load"
    return Finding(subject, "ok", detail + _labels(version))


def _without_litert(version: Version, files: int) -> Finding:
    """An import that LiteRT cannot run has a SavedModel alone, and is served by TensorFlow."""
    subject = f"{version.model}/{version.number}"
    if not (version.folder / "saved_model.pb").is_file():
        return Finding(subject, "failed", f"no {RUNTIME.files[0]}", RUNTIME.export)
    detail = f"{files} files as published, contract, no {RUNTIME.files[0]}: needs TensorFlow"
    return Finding(subject, "ok", detail + _labels(version))


def _labels(version: Version) -> str:
    return f", labels {', '.join(version.labels)}" if version.labels else ""
