"""`python -m rockstar_serving.gateway`: the gateway as a process; see --help."""

from rockstar_serving.gateway.command import gateway
from rockstar_serving.logs import replace_closed_streams

if __name__ == "__main__":
    replace_closed_streams()
    gateway(prog_name="python -m rockstar_serving.gateway")
