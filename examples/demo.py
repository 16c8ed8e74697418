"""Train three models on handwritten digits, serve them, and compare predictions with training.

Sends the held-out images to the service as PNG files over HTTP, and some over gRPC, and compares
each predicted label with the one in the training record. Then keeps the service running.
"""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rockstar_client import Answer
from rockstar_client.grpc import GrpcClient
from rockstar_client.http import HttpClient
from rockstar_serving import ServeError
from rockstar_serving.serve import Addresses, ServeOptions, require_free_ports
from rockstar_training.config import CLASSIFIERS
from rockstar_training.datasets import load

BATCH = 40
OVER_GRPC = 40
DRAWN = 4
SHADES = " ░▒▓█"
LOG = "serve.log"
PORT = click.IntRange(0, 65535)


@dataclass(frozen=True)
class HeldOut:
    """The held-out images of a run as PNG files, with their labels and training's predictions."""

    images: list[bytes]
    labels: list[str]
    predicted: list[str]

    @property
    def accuracy(self) -> float:
        """Accuracy that training measured on these images, 0 to 1."""
        return float(np.mean(np.array(self.labels) == np.array(self.predicted)))


@click.command()
@click.option(
    "--workdir", default="demo", type=click.Path(path_type=Path), help="Folder for all files."
)
@click.option("--once", is_flag=True, help="Stop after the comparison.")
@click.option("--port", default=8080, type=PORT, help="HTTP port; 0 picks one.")
@click.option("--grpc-port", default=8500, type=PORT, help="gRPC port; 0 picks one.")
@click.option("--rest-port", default=8501, type=PORT, help="REST port; 0 picks one.")
def main(workdir: Path, once: bool, port: int, grpc_port: int, rest_port: int) -> None:
    """Train three models, serve them and compare predictions."""
    options = ServeOptions(
        workdir / "models", CLASSIFIERS, port=port, grpc_port=grpc_port, rest_port=rest_port
    )
    # The service runs on this machine: connect without the network's proxy.
    past = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    os.environ["no_proxy"] = f"{past},{options.host}".lstrip(",")
    try:
        # Fail before minutes of training, not after.
        require_free_ports(options)
    except ServeError as error:
        raise click.ClickException(f"{error} (make demo ARGS='--port 8090 …')") from error
    try:
        for model in CLASSIFIERS:
            train(model, workdir)
        with service(options, workdir / LOG) as (addresses, process):
            if not compare_predictions(addresses, workdir):
                raise click.ClickException(
                    "the predictions of the service differ from those of training"
                )
            show_reports(workdir)
            if not once:
                show_commands(addresses, workdir)
                process.wait()
                raise click.ClickException(f"the service exited; see {workdir / LOG}")
    except KeyboardInterrupt:
        click.echo("\nStopped.")
        sys.exit(130)


@contextlib.contextmanager
def service(
    options: ServeOptions, log: Path
) -> Iterator[tuple[Addresses, "subprocess.Popen[str]"]]:
    """Run `rockstar serve`, with its log in a file."""
    command = (
        *("rockstar_cli", "serve", "--json", "--models", str(options.models)),
        *("--port", str(options.port), "--grpc-port", str(options.grpc_port)),
        *("--rest-port", str(options.rest_port)),
        *(word for model in options.only for word in ("--model", model)),
    )
    heading(f"rockstar serve --models {options.models} (log in {log})")
    with (
        log.open("w") as lines,
        subprocess.Popen(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=lines, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None  # for the type checker
            answer = process.stdout.readline()
            if not answer:
                last = (log.read_text().strip() or "no reason given").splitlines()[-1]
                raise click.ClickException(f"the service did not start: {last} (see {log})")
            yield Addresses(**json.loads(answer)), process
        finally:
            process.terminate()


def train(model: str, workdir: Path) -> None:
    """Run `rockstar train`, unless an earlier demo trained the model."""
    heading(f"rockstar train {model} --data digits --workdir {workdir}")
    if (workdir / "models" / model / "1").is_dir():
        click.echo(f"Trained before; rm -r {workdir} starts over.")
        return
    command = [sys.executable, "-m", "rockstar_cli", "train", model, "--workdir", str(workdir)]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise click.ClickException(f"training the {model} model failed")


def compare_predictions(addresses: Addresses, workdir: Path) -> bool:
    """Send the held-out images; return whether all labels equal those of training."""
    heading("The held-out images as PNG files through the service")
    click.echo(f"{'model':<10}{'images':>8}{'at training':>13}{'over HTTP':>12}   same answers")
    same = True
    with HttpClient(addresses.http) as http, GrpcClient(addresses.grpc) as grpc:
        for model in CLASSIFIERS:
            version = http.predict(model, png(np.zeros((8, 8), np.uint8))).version
            held_out = read_held_out(workdir / "runs" / f"{model}-{version}")
            answers = list(in_batches(http, model, held_out.images))
            direct = labels(grpc.predict(model, held_out.images[:OVER_GRPC]))
            over_http = float(np.mean(np.array(answers) == np.array(held_out.labels)))
            alike = answers == held_out.predicted and direct == answers[:OVER_GRPC]
            same &= alike
            verdict = f"all {len(answers)} (HTTP) and {OVER_GRPC} (gRPC)" if alike else "NO"
            click.echo(
                f"{model:<10}{len(answers):>8}{held_out.accuracy:>13.4f}{over_http:>12.4f}"
                f"   {verdict}"
            )
        draw(http.predict("cnn", held_out.images[:DRAWN]), held_out)
    save_samples(held_out, workdir / "samples")
    return same


def read_held_out(run: Path) -> HeldOut:
    """Read the held-out images of a training run, from its record and the data set."""
    data = load(json.loads((run / "config.json").read_text())["data"])
    with (run / "test_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = [png(data.images[int(row["index"])][:, :, 0]) for row in rows]
    return HeldOut(images, [row["label"] for row in rows], [row["predicted"] for row in rows])


def in_batches(client: HttpClient, model: str, images: list[bytes]) -> Iterator[str]:
    """Predict the label of each image, in several requests."""
    for start in range(0, len(images), BATCH):
        yield from labels(client.predict(model, images[start : start + BATCH]))


def labels(answer: Answer) -> list[str]:
    """The most likely label of each image, even if the model is not sure."""
    return [prediction.top[0].label for prediction in answer.predictions]


def draw(answer: Answer, held_out: HeldOut) -> None:
    """Print images with their predictions."""
    heading(f"Some predictions of {answer.model} version {answer.version}")
    pictures = [sketch(np.asarray(Image.open(io.BytesIO(i)))) for i in held_out.images[:DRAWN]]
    for lines in zip(*pictures, strict=True):
        click.echo("   ".join(lines))
    texts = [f"{p.label or 'not sure'} ({p.score:.4f})" for p in answer.predictions]
    click.echo("   ".join(f"{text:<16}" for text in texts))


def sketch(pixels: NDArray[np.uint8]) -> list[str]:
    """Draw a gray image with characters, two per pixel, which makes pixels square."""
    shades = pixels.astype(int) * (len(SHADES) - 1) // 255
    return ["".join(SHADES[shade] * 2 for shade in row) for row in shades]


def save_samples(held_out: HeldOut, folder: Path) -> None:
    """Save one PNG file per label, to try the service with."""
    folder.mkdir(parents=True, exist_ok=True)
    for label in sorted(set(held_out.labels)):
        (folder / f"{label}.png").write_bytes(held_out.images[held_out.labels.index(label)])


def show_reports(workdir: Path) -> None:
    """Print the URLs of the training reports."""
    heading("Training reports, for a browser")
    for model in CLASSIFIERS:
        for report in sorted((workdir / "runs").glob(f"{model}-*/report.html")):
            click.echo(report.resolve().as_uri())


def show_commands(addresses: Addresses, workdir: Path) -> None:
    """Print commands and pages to try."""
    url, sample = addresses.http, workdir / "samples" / "7.png"
    heading("Try it in another terminal")
    click.echo(f"curl -F image=@{sample} {url}/predict/cnn")
    click.echo(f"curl {url}/v1/models")
    click.echo(f".venv/bin/rockstar predict --model cnn --url {url} {workdir}/samples/*.png")
    click.echo(f".venv/bin/rockstar predict --model mlp --grpc {addresses.grpc} {sample}")
    if addresses.rest:
        click.echo(f"curl http://{addresses.rest}/v1/models/cnn/metadata")
    heading("Serving until Ctrl-C")
    click.echo(f"Draw a digit   {url}/")
    click.echo(f"Read the API   {url}/docs")
    click.echo(f"Request log    {workdir / LOG}")


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode gray pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def heading(text: str) -> None:
    """Print a heading."""
    click.echo(f"\n== {text}")


if __name__ == "__main__":
    main()
