"""`python -m rockstar_serving.gateway.kserve`: the transformer of a KServe InferenceService.

KServe adds arguments to the first container of a transformer: where the predictor is, what the
model is called, which port to listen on. Here they become settings of the gateway.
https://github.com/kserve/kserve/blob/master/pkg/apis/serving/v1beta1/transformer_custom.go
"""

import click

from rockstar_serving.gateway.command import gateway


def gateway_options(
    model_name: str, predictor_host: str, http_port: int, grpc_port: int, workers: int | None
) -> list[str]:
    """The gateway's options for what KServe says.

    Args:
        model_name: the InferenceService's name, under which the predictor serves the model.
        predictor_host: the predictor's Service, <name>-predictor.<namespace>; perhaps with a port.
        http_port: where KServe expects an answer.
        grpc_port: of the predictor's gRPC API, which KServe knows nothing of.
        workers: processes; None leaves that to the settings.
    """
    return [
        f"--model={model_name}",
        # All of its pods, where the Service has no address of its own.
        f"--upstream=dns:///{predictor_host.partition(':')[0]}:{grpc_port}",
        f"--bind=0.0.0.0:{http_port}",
        *([f"--workers={workers}"] if workers is not None else []),
    ]


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.option("--model_name", required=True)
@click.option("--predictor_host", required=True)
@click.option("--http_port", type=int, default=8080)
@click.option("--predictor_grpc_port", type=int, default=8500)
@click.option("--workers", type=int)
@click.argument("others", nargs=-1, type=click.UNPROCESSED)
def transformer(
    model_name: str,
    predictor_host: str,
    http_port: int,
    predictor_grpc_port: int,
    workers: int | None,
    others: tuple[str, ...],
) -> None:
    """Serve as KServe says; every other option is the gateway's, and goes before."""
    said = gateway_options(model_name, predictor_host, http_port, predictor_grpc_port, workers)
    gateway.main([*said, *others], prog_name="python -m rockstar_serving.gateway.kserve")


if __name__ == "__main__":
    transformer(prog_name="python -m rockstar_serving.gateway.kserve")
