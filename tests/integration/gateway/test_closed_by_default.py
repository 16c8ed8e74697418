"""What a service exposes, and to whom: real processes on both hosts."""

import socket
import sys

import pytest

from tests.command_line import serving
from tests.model_fixtures import write_version

PORTS = ("--port=0", "--grpc-port=0", "--rest-port=0", "--workers=1")
# Reaches a server on this machine only if it listens on all addresses.
OTHER_ADDRESS = "127.0.0.2"


@pytest.mark.skipif(sys.platform != "linux", reason="has 127.0.0.1 only")
def test_a_service_for_other_machines_does_not_expose_its_model_server(tmp_path):
    write_version(tmp_path / "models" / "toy", 1)
    arguments = ("--models", tmp_path / "models", *PORTS, "--host=0.0.0.0")
    with serving("serve", *arguments, log=tmp_path / "log") as addresses:
        reachable = set()
        for api in ("http", "grpc", "rest"):
            with socket.socket() as client:
                port = int(addresses[api].rpartition(":")[2])
                if client.connect_ex((OTHER_ADDRESS, port)) == 0:
                    reachable.add(api)
    assert reachable == {"http"}
