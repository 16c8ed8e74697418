"""`python -m serving.gateway`: the gateway as a process; see --help."""

from serving.gateway.command import gateway
from serving.logs import replace_closed_streams

if __name__ == "__main__":
    replace_closed_streams()
    gateway(prog_name="python -m serving.gateway")
