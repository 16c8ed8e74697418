"""Triton Inference Server of the nvidia-pytriton wheel, without PyTriton.

Batches and instances (config.pbtxt): https://docs.nvidia.com/deeplearning/triton-inference-server/
user-guide/docs/user_guide/model_configuration.html; the Python backend runs each of the two
instances in a process. The binary needs no CUDA and no other libraries than those in the wheel.
"""

import os
import shutil
import sys
from pathlib import Path

import pytriton

HERE = Path(__file__).parent


def main() -> None:
    """Lay out the model repository and the backend, and become the server."""
    root, folder = Path(pytriton.__file__).parent, Path(os.environ["BENCHMARK_FOLDER"])
    server, (http, grpc) = root / "tritonserver", os.environ["TRITON_PORTS"].split(",")
    model = folder / "models" / "digits"
    (model / "1").mkdir(parents=True)
    shutil.copy(HERE / "config.pbtxt", model)
    shutil.copy(HERE / "model.py", model / "1")
    # The backend ignores PYTHONPATH; it finds packages by PATH, and modules beside the model.
    for modules in os.environ["PYTHONPATH"].split(os.pathsep):
        shutil.copytree(modules, model / "1", dirs_exist_ok=True)
    # The backend runs models in the stub for this version of Python, which it expects beside it.
    backends = folder / "backends"
    shutil.copytree(server / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    libraries = root.with_name("nvidia_pytriton.libs")
    os.execve(  # noqa: S606
        server / "bin" / "tritonserver",
        [
            "tritonserver",
            f"--model-repository={folder / 'models'}",
            f"--backend-directory={backends}",
            *("--http-address=127.0.0.1", f"--http-port={http}"),
            *("--grpc-address=127.0.0.1", f"--grpc-port={grpc}"),
            *("--allow-metrics=false", "--log-info=false"),
        ],
        {**os.environ, "LD_LIBRARY_PATH": str(libraries)},
    )


if __name__ == "__main__":
    main()
