"""The `.proto` files of services describe all served methods."""

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tfs_api import services

ROOT = Path(__file__).parents[3]


def test_proto_files_have_all_methods(tmp_path: Path) -> None:
    compiled = tmp_path / "services.pb"
    # In another process, because its protobuf conflicts with TensorFlow's.
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "contract"]
    command.append(f"--descriptor_set_out={compiled}")
    files = ["contract/tfs_api/services.proto", "contract/tfs_api/inference_service.proto"]
    subprocess.run([*command, *files], cwd=ROOT, check=True, timeout=60)
    declared = {
        (f"/{proto.package}.{service.name}/{method.name}", method.input_type, method.output_type)
        for proto in FileDescriptorSet.FromString(compiled.read_bytes()).file
        for service in proto.service
        for method in service.method
    }
    assert declared == {
        (
            method.path,
            f".{method.request.DESCRIPTOR.full_name}",
            f".{method.response.DESCRIPTOR.full_name}",
        )
        for method in services.methods()
    }
