"""Our messages have the fields of the official ones: number, type and label."""

import warnings
from typing import Any

import pytest

from serving.api.messages import (
    model_management_pb2,
    model_server_config_pb2,
    model_status_pb2,
    prediction_pb2,
    signature_pb2,
    tensor_pb2,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    from tensorflow.core.framework import tensor_pb2 as tf_tensor
    from tensorflow.core.framework import tensor_shape_pb2 as tf_shape
    from tensorflow.core.framework import types_pb2 as tf_types
    from tensorflow.core.protobuf import meta_graph_pb2 as tf_meta_graph
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
        predict_pb2,
        status_pb2,
    )
    from tensorflow_serving.apis import (
        model_management_pb2 as tfs_management,
    )
    from tensorflow_serving.config import file_system_storage_path_source_pb2 as tfs_source
    from tensorflow_serving.config import log_collector_config_pb2 as tfs_collector
    from tensorflow_serving.config import logging_config_pb2 as tfs_logging
    from tensorflow_serving.config import model_server_config_pb2 as tfs_config

VersionPolicy = tfs_source.FileSystemStoragePathSourceConfig.ServableVersionPolicy
PAIRS = [
    (tensor_pb2.TensorProto, tf_tensor.TensorProto),
    (tensor_pb2.TensorShapeProto, tf_shape.TensorShapeProto),
    (tensor_pb2.TensorShapeProto.Dim, tf_shape.TensorShapeProto.Dim),
    (signature_pb2.TensorInfo, tf_meta_graph.TensorInfo),
    (signature_pb2.SignatureDef, tf_meta_graph.SignatureDef),
    (prediction_pb2.ModelSpec, model_pb2.ModelSpec),
    (prediction_pb2.PredictRequest, predict_pb2.PredictRequest),
    (prediction_pb2.PredictResponse, predict_pb2.PredictResponse),
    (prediction_pb2.GetModelMetadataRequest, get_model_metadata_pb2.GetModelMetadataRequest),
    (prediction_pb2.GetModelMetadataResponse, get_model_metadata_pb2.GetModelMetadataResponse),
    (prediction_pb2.SignatureDefMap, get_model_metadata_pb2.SignatureDefMap),
    (model_status_pb2.StatusProto, status_pb2.StatusProto),
    (model_status_pb2.ModelVersionStatus, get_model_status_pb2.ModelVersionStatus),
    (model_status_pb2.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest),
    (model_status_pb2.GetModelStatusResponse, get_model_status_pb2.GetModelStatusResponse),
    (model_server_config_pb2.ModelServerConfig, tfs_config.ModelServerConfig),
    (model_server_config_pb2.ModelConfigList, tfs_config.ModelConfigList),
    (model_server_config_pb2.ModelConfig, tfs_config.ModelConfig),
    (model_server_config_pb2.ServableVersionPolicy, VersionPolicy),
    (model_server_config_pb2.ServableVersionPolicy.Latest, VersionPolicy.Latest),
    (model_server_config_pb2.ServableVersionPolicy.Specific, VersionPolicy.Specific),
    (model_server_config_pb2.LoggingConfig, tfs_logging.LoggingConfig),
    (model_server_config_pb2.SamplingConfig, tfs_logging.SamplingConfig),
    (model_server_config_pb2.PerTaskSamplingConfig, tfs_logging.PerTaskSamplingConfig),
    (model_server_config_pb2.LogCollectorConfig, tfs_collector.LogCollectorConfig),
    (model_management_pb2.ReloadConfigRequest, tfs_management.ReloadConfigRequest),
    (model_management_pb2.ReloadConfigResponse, tfs_management.ReloadConfigResponse),
    (model_management_pb2.Metric, tfs_management.Metric),
]
ENUMS = [
    (tensor_pb2.DataType, tf_types.DataType),
    (
        model_status_pb2.ModelVersionStatus.State,
        get_model_status_pb2.ModelVersionStatus.State,
    ),
    (model_server_config_pb2.ModelConfig.ModelType, tfs_config.ModelType),
]


def interchangeable(field: Any) -> Any:
    # On the wire, and in the text format of what we read, an enum is an int32 (StatusProto.code).
    return field.TYPE_INT32 if field.type == field.TYPE_ENUM else field.type


@pytest.mark.parametrize(("ours", "official"), PAIRS, ids=lambda m: m.DESCRIPTOR.full_name)
def test_fields_agree(ours: Any, official: Any) -> None:
    for field in ours.DESCRIPTOR.fields:
        theirs = official.DESCRIPTOR.fields_by_number[field.number]
        assert field.name == theirs.name
        assert interchangeable(field) == interchangeable(theirs), field.name
        assert (field.is_repeated, field.is_packed) == (
            theirs.is_repeated,
            theirs.is_packed,
        ), field.name
        if field.containing_oneof:
            assert field.containing_oneof.name == theirs.containing_oneof.name


@pytest.mark.parametrize(("ours", "official"), ENUMS)
def test_enum_values_agree(ours: Any, official: Any) -> None:
    assert dict(ours.items()).items() <= dict(official.items()).items()
