"""`python -m rockstar_serving.gateway.kserve`: the transformer of a KServe InferenceService.

KServe adds arguments to the first container of a transformer: the predictor's address, the model's
name and the port to listen on. They become settings of the gateway.
https://github.com/kserve/kserve/blob/master/pkg/apis/serving/v1beta1/transformer_custom.go
"""

import click

from rockstar_serving.gateway.command import gateway


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
    """Run the gateway; options that KServe does not pass are the gateway's and override its own."""
    # dns:/// reaches all pods of a Service without a cluster IP.
    upstream = f"dns:///{predictor_host.partition(':')[0]}:{predictor_grpc_port}"
    options = [f"--model={model_name}", f"--upstream={upstream}", f"--bind=0.0.0.0:{http_port}"]
    if workers is not None:
        options.append(f"--workers={workers}")
    gateway.main([*options, *others], prog_name="python -m rockstar_serving.gateway.kserve")


if __name__ == "__main__":
    transformer(prog_name="python -m rockstar_serving.gateway.kserve")
