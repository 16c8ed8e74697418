"""Services of the gRPC server itself: grpc.health.v1, and reflection.

With reflection, clients that know no message of the API can list its methods and call them. Our
messages live in a separate proto package; reflection shows them under their official names.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from rockstar_serving.model_server.grpc_server import OpenStreams, with_threads
from tfs_api import services
from tfs_api.services import INFERENCE_SERVICE, MODEL_SERVICE, PREDICTION_SERVICE

# TensorFlow Serving (server.cc) omits the package; gRPC's own clients use the full name.
SERVICES = (
    "ModelService",
    "PredictionService",
    MODEL_SERVICE,
    PREDICTION_SERVICE,
    INFERENCE_SERVICE,
)


class Health(health.HealthServicer):  # type: ignore[misc]
    """Reports SERVING for the server as a whole ("") and its services, until it stops."""

    def __init__(self, server: grpc.Server, streams: OpenStreams) -> None:
        super().__init__()
        self._streams = streams
        # A probe must not wait for predictions: the server would be killed as too slow.
        pool = ThreadPoolExecutor(2, thread_name_prefix="health")
        self.Check = with_threads(super().Check, pool)
        self.Watch = with_threads(self._watch, pool, non_blocking=True)
        for service in SERVICES:
            self.set(service, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def _watch(self, request: Any, context: Any, send_response: Callable[[Any], None]) -> None:
        # Instead of cancelling: the caller might miss the last status.
        self._streams.add(context, lambda: send_response(None))
        super().Watch(request, context, send_response)


_OURS = "rockstartf.api"
# The official packages of our files of messages; the others are TensorFlow Serving's.
_SERVING = "tensorflow.serving"
_PACKAGES = {
    "tfs_api/messages/example.proto": "tensorflow",
    "tfs_api/messages/signature.proto": "tensorflow",
    "tfs_api/messages/tensor.proto": "tensorflow",
    "tfs_api/messages/open_inference.proto": "inference",
}


def add_reflection(server: grpc.Server, streams: OpenStreams, *, health: bool) -> None:
    """Add reflection to a server that is not started; `health`: whether it has grpc.health.v1."""
    pool = DescriptorPool()
    names = {method.service for method in services.methods()}
    extra = [reflection_pb2.DESCRIPTOR, *([health_pb2.DESCRIPTOR] if health else [])]
    for file in [*official_files(), *map(_proto, extra)]:
        pool.AddSerializedFile(file.SerializeToString())
    names |= {service.full_name for file in extra for service in file.services_by_name.values()}
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
        _Reflection(names, pool, streams), server
    )


class _Reflection(reflection.ReflectionServicer):  # type: ignore[misc]
    def __init__(self, names: Iterable[str], pool: DescriptorPool, streams: OpenStreams) -> None:
        super().__init__(names, pool)
        self._streams = streams
        # Each caller may occupy one for any time.
        threads = ThreadPoolExecutor(2, thread_name_prefix="reflection")
        self.ServerReflectionInfo = with_threads(self._respond, threads)

    def _respond(self, requests: Any, context: Any) -> Any:
        self._streams.add(context, context.cancel)
        return super().ServerReflectionInfo(requests, context)


def official_files() -> list[FileDescriptorProto]:
    """The services and their messages by official names; each file after those that it imports."""
    methods = services.methods()
    used = [
        message.DESCRIPTOR.file
        for method in methods
        for message in (method.request, method.response)
    ]
    files = [_proto(file) for file in _with_imports(used, set())]
    ours = [file for file in files if file.package == _OURS]
    packages: dict[str, str] = {}
    for file in ours:
        file.package = _PACKAGES.get(file.name, _SERVING)
        names = [each.name for each in file.message_type] + [each.name for each in file.enum_type]
        packages.update(dict.fromkeys(names, file.package))

    def official(name: str) -> str:
        """The full name of a message; a nested one is in the package of the outermost."""
        return f".{packages[name.partition('.')[0]]}.{name}"

    def rename_types(message: DescriptorProto) -> None:
        for field in message.field:
            if field.type_name.startswith(f".{_OURS}."):
                field.type_name = official(field.type_name.removeprefix(f".{_OURS}."))
        for inner in message.nested_type:
            rename_types(inner)

    for file in ours:
        for message in file.message_type:
            rename_types(message)
    # The services, a file for each package.
    by_name: dict[str, ServiceDescriptorProto] = {}
    for method in methods:
        by_name.setdefault(method.service, ServiceDescriptorProto()).method.add(
            name=method.name,
            input_type=official(method.request.DESCRIPTOR.name),
            output_type=official(method.response.DESCRIPTOR.name),
        )
    service_files: dict[str, FileDescriptorProto] = {}
    for full_name, service in by_name.items():
        package, _, service.name = full_name.rpartition(".")
        new = FileDescriptorProto(
            name=f"tfs_api/{package}.services.proto",
            package=package,
            syntax="proto3",
            dependency=sorted({file.name for file in used}),
        )
        service_files.setdefault(package, new).service.append(service)
    return [*files, *service_files.values()]


def _with_imports(files: Iterable[FileDescriptor], seen: set[str]) -> Iterator[FileDescriptor]:
    """The files and all that they import, each once, after its own imports."""
    for file in files:
        if file.name not in seen:
            seen.add(file.name)
            yield from _with_imports(file.dependencies, seen)
            yield file


def _proto(file: FileDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto
