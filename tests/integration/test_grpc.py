"""The router's gRPC face: Generate, ListModels, health, reflection."""

import importlib
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

from mesh import NAME, ROOT
from test_trust import credentials


@pytest.fixture(scope="module")
def inference(tmp_path_factory):
    out = tmp_path_factory.mktemp("proto")
    assert protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}",
                        "slmmesh/v1/sampling.proto", "slmmesh/v1/inference.proto"]) == 0
    sys.path.insert(0, str(out))
    return (importlib.import_module("slmmesh.v1.inference_pb2"), importlib.import_module("slmmesh.v1.inference_pb2_grpc"))


@pytest.fixture
def channel(mesh):
    options = [("grpc.ssl_target_name_override", f"router.{mesh.cluster}.slmmesh")]
    with grpc.secure_channel(mesh.addresses("router-0")["grpc"], credentials(mesh, "admin"), options) as opened:
        yield opened


def test_generate_streams_text_and_usage(mesh, inference, channel):
    messages, services = inference
    stub = services.InferenceStub(channel)
    request = messages.GenerateRequest(model=NAME, text="The capital of France is")
    request.options.temperature = 0
    request.options.max_tokens = 8
    parts = list(stub.Generate(request, timeout=60))
    assert "Paris" in "".join(part.text for part in parts)
    assert parts[-1].usage.completion_tokens == 8 == sum(len(part.token_ids) for part in parts)
    same = mesh.client().completions.create(model=NAME, prompt="The capital of France is", temperature=0, max_tokens=8)
    assert same.choices[0].text == "".join(part.text for part in parts)


def test_errors_have_codes(inference, channel):
    messages, services = inference
    stub = services.InferenceStub(channel)
    for request, code in [
        (messages.GenerateRequest(model="nobody", text="x"), grpc.StatusCode.NOT_FOUND),
        (messages.GenerateRequest(model=NAME), grpc.StatusCode.INVALID_ARGUMENT),
    ]:
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Generate(request, timeout=30))
        assert caught.value.code() == code


def test_models_health_and_reflection(inference, channel):
    messages, services = inference
    models = services.InferenceStub(channel).ListModels(messages.ListModelsRequest(), timeout=10).models
    assert [model.name for model in models] == [NAME]
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert "slmmesh.v1.Inference" in ProtoReflectionDescriptorDatabase(channel).get_services()
