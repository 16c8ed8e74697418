"""`python -m serving.gateway`: the gateway as a process; see --help."""

from serving.gateway.command import gateway

if __name__ == "__main__":
    gateway(prog_name="python -m serving.gateway")
