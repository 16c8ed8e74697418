"""Compare the responses of two servers of TensorFlow Serving's API to the same requests.

    make tfserving-diff                   # TensorFlow Serving in a container, and the embedded server
    make tfserving-diff TFS=…/serving     # with the test models of its source tree, too
    python -m tests.tfserving_diff --left http://HOST:PORT,grpc://HOST:PORT --right http://…

Without --left, Docker starts the pinned version of TensorFlow Serving on a port of this machine;
without --right, the embedded server is started. Both load the same models, which are written first
(this needs TensorFlow). They are sent the golden requests of tests/testdata/rest, requests that
clients are known to send, and as many made-up ones as --requests says. What differs is grouped by
kind, with the smallest request of each. Differences that are meant are listed in intended.toml.

Exit codes: 0 nothing else differs, 1 something does, 2 the servers could not be compared.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec
from tqdm import tqdm

from tests import rest_models
from tests.tfserving_diff.compare import (
    Difference,
    differences,
    from_files,
    intended,
    smallest,
)
from tests.tfserving_diff.generated import generate
from tests.tfserving_diff.models import folders, write_models
from tests.tfserving_diff.requests import golden, known
from tests.tfserving_diff.servers import Request, Server, addresses, container, embedded

_SHOWN = 500


class Report(msgspec.Struct):
    """Results of a comparison.

    Attributes:
        sent: number of requests by kind.
        found: unintended differences by group.
        meant: count of each intended difference, by its reason.
        unsent: requests that were not sent within the time.
    """

    sent: Counter[str]
    found: dict[tuple[str, ...], list[Difference]]
    meant: Counter[str]
    unsent: int = 0


def compare(
    left: Server, right: Server, requests: list[Request], *, seconds: float = 1e9
) -> Report:
    """Send requests to both servers.

    Args:
        left: the first server; TensorFlow Serving, if one of them is.
        right: the second server.
        requests: requests to send; those that a server cannot handle are skipped.
        seconds: time after which no more are sent.
    """
    report = Report(Counter(), defaultdict(list), Counter())
    rules = intended()
    until = time.monotonic() + seconds
    able = [each for each in requests if left.takes(each) and right.takes(each)]
    for index, request in enumerate(tqdm(able, unit="request", disable=None)):
        if time.monotonic() > until:
            report.unsent = len(able) - index
            break
        report.sent[request.kind] += 1
        for difference in differences(request, left.ask(request), right.ask(request)):
            rule = next((each for each in rules if each.covers(difference)), None)
            if rule is None:
                report.found[difference.group].append(difference)
            else:
                report.meant[rule.docs] += 1
    return report


def _text(report: Report) -> Iterable[str]:
    for number, found in enumerate(_largest_first(report), 1):
        example = smallest(found)
        yield f"{number}. {example.request.kind}: {example.aspect} ({len(found)} times)"
        yield f"   request {_short(str(example.request))}"
        yield f"   left    {_short(example.left)}"
        yield f"   right   {_short(example.right)}"
    for reason, count in report.meant.most_common():
        yield f"meant ({count} times): {reason}"
    wrong = Counter(each.request.kind for found in report.found.values() for each in found)
    yield f"{'kind':20} {'sent':>6} {'differ':>6}"
    for kind, sent in sorted(report.sent.items()):
        yield f"{kind:20} {sent:6} {wrong[kind]:6}"
    yield f"{'all':20} {report.sent.total():6} {wrong.total():6}"
    if report.unsent:
        yield f"no time for {report.unsent} more requests (--time-limit)"


def _largest_first(report: Report) -> list[list[Difference]]:
    return sorted(report.found.values(), key=len, reverse=True)


def _document(report: Report, seed: int) -> Any:
    return {
        "seed": seed,
        "sent": report.sent,
        "unsent": report.unsent,
        "meant": report.meant,
        "differences": [
            {
                "kind": example.request.kind,
                "aspect": example.aspect,
                "count": len(found),
                "request": str(example.request),
                "left": example.left,
                "right": example.right,
            }
            for found in _largest_first(report)
            for example in [smallest(found)]
        ],
    }


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _addresses(_: Any, __: Any, value: str | None) -> Server | None:
    if value is None:
        return None
    try:
        found = addresses(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return Server(found.get("http"), found.get("grpc"))


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.option("--left", callback=_addresses, metavar="http://…,grpc://…", help="A running server.")
@click.option("--right", callback=_addresses, metavar="http://…,grpc://…", help="The other one.")
@click.option("--models", type=click.Path(path_type=Path), help="Write them there, and keep them.")
@click.option("--tfs", type=click.Path(path_type=Path, exists=True), help="Its source tree.")
@click.option("--tflite", is_flag=True, help="Run LiteRT files where there are any.")
@click.option("--requests", "count", default=1000, show_default=True, help="Made-up requests.")
@click.option("--seed", default=0, show_default=True, help="Others make other requests.")
@click.option("--time-limit", default=1800.0, show_default=True, help="In seconds.")
@click.option("--only", multiple=True, help="A kind of request, as the summary has it.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result there.")
def main(
    left: Server | None,
    right: Server | None,
    models: Path | None,
    tfs: Path | None,
    tflite: bool,
    count: int,
    seed: int,
    time_limit: float,
    only: tuple[str, ...],
    file: Path | None,
) -> None:
    """Compare two servers."""
    with ExitStack() as stack:
        folder = models or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        served = folders(tfs)
        if models or not (left and right):
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            write_models(folder, tfs)
        for given in filter(None, (left, right)):
            stack.enter_context(given)
        real = left is None
        try:
            if left is None:
                config = _config(folder, "container.config", "/models", served)
                left = stack.enter_context(container(config, prefer_tflite=tflite))
            if right is None:
                config = _config(folder, "models.config", str(folder.resolve()), served)
                right = stack.enter_context(embedded(config, prefer_tflite=tflite))
            left.check()
            right.check()
            catalogue = {name: found for name in served if (found := right.signatures(name))}
            if not catalogue:
                raise OSError(f"the right server has none of the models {', '.join(served)}")
            requests = [*dict(golden()).values(), *known(), *generate(catalogue, count, seed)]
            if only:
                requests = [each for each in requests if each.kind in only]
            report = compare(left, right, requests, seconds=time_limit)
            for difference in from_files(left) if real else ():
                report.found[difference.group].append(difference)
        except (OSError, subprocess.CalledProcessError) as error:
            click.echo(f"Error: {error} {getattr(error, 'stderr', '')}".rstrip(), err=True)
            sys.exit(2)
    click.echo("\n".join(_text(report)))
    if file:
        file.write_text(json.dumps(_document(report, seed), indent=2, ensure_ascii=False))
    sys.exit(bool(report.found))


def _config(folder: Path, name: str, base: str, served: dict[str, str]) -> Path:
    config = folder / name
    config.write_text(rest_models.config_text(base, served))
    return config


if __name__ == "__main__":
    main()
