from tfs_api.messages import tensor_pb2 as _tensor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PackedTensorProto(_message.Message):
    __slots__ = ("dtype", "tensor_shape", "float_val", "double_val", "scomplex_val", "bool_val", "dcomplex_val")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    TENSOR_SHAPE_FIELD_NUMBER: _ClassVar[int]
    FLOAT_VAL_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VAL_FIELD_NUMBER: _ClassVar[int]
    SCOMPLEX_VAL_FIELD_NUMBER: _ClassVar[int]
    BOOL_VAL_FIELD_NUMBER: _ClassVar[int]
    DCOMPLEX_VAL_FIELD_NUMBER: _ClassVar[int]
    dtype: _tensor_pb2.DataType
    tensor_shape: _tensor_pb2.TensorShapeProto
    float_val: bytes
    double_val: bytes
    scomplex_val: bytes
    bool_val: bytes
    dcomplex_val: bytes
    def __init__(self, dtype: _Optional[_Union[_tensor_pb2.DataType, str]] = ..., tensor_shape: _Optional[_Union[_tensor_pb2.TensorShapeProto, _Mapping]] = ..., float_val: _Optional[bytes] = ..., double_val: _Optional[bytes] = ..., scomplex_val: _Optional[bytes] = ..., bool_val: _Optional[bytes] = ..., dcomplex_val: _Optional[bytes] = ...) -> None: ...
