"""`python -m serving.gateway`: the gateway as a process; see --help."""

import logging

import click

from serving.gateway.config import GatewayConfig
from serving.gateway.server import GatewayServer


@click.command(context_settings={"auto_envvar_prefix": "ROCKSTAR", "show_default": True})
@click.option("--upstream", default="127.0.0.1:8500", help="gRPC address of the model server.")
@click.option("--model", "models", multiple=True, required=True, help="A model to list; repeat.")
@click.option("--bind", default="127.0.0.1:8080", help="HOST:PORT, unix:PATH or fd://N.")
@click.option("--workers", default=2, type=click.IntRange(1), help="Processes.")
@click.option("--threads", default=8, type=click.IntRange(1), help="Threads of each process.")
@click.option("--request-timeout", default=10.0, type=click.FloatRange(0.01), help="Seconds.")
@click.option("--max-body-bytes", default=16 * 2**20, type=click.IntRange(1))
@click.option("--max-pixels", default=16 * 2**20, type=click.IntRange(1), help="Width x height.")
@click.option("--max-instances", default=256, type=click.IntRange(1), help="In one request.")
def main(
    upstream: str,
    models: tuple[str, ...],
    bind: str,
    workers: int,
    threads: int,
    request_timeout: float,
    max_body_bytes: int,
    max_pixels: int,
    max_instances: int,
) -> None:
    """Serve predictions over HTTP from a model server's gRPC API.

    Every option can be set as an environment variable ROCKSTAR_<OPTION>.
    """
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s gateway: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    config = GatewayConfig(
        upstream=upstream,
        models=models,
        request_timeout_s=request_timeout,
        max_body_bytes=max_body_bytes,
        max_pixels=max_pixels,
        max_instances=max_instances,
    )
    GatewayServer(config, bind=bind, workers=workers, threads=threads).run()


if __name__ == "__main__":
    main()
