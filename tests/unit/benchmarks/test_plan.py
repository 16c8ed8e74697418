"""The loads of a run by system, and their order."""

from pathlib import Path

import pytest

from benchmarks.serving.plan import WORKLOADS, Choice, plan_run
from benchmarks.serving.systems import SYSTEMS, Image, Run

PYTHONS = {(name, engine): Path("python") for name in SYSTEMS for engine in SYSTEMS[name].engines}
CHOICE = Choice(
    systems=tuple(SYSTEMS.values()),
    workloads=tuple(WORKLOADS.values()),
    connections=(1, 16),
    engines=("litert", "tensorflow"),
    one_worker=True,
)
GATEWAYS = {"rockstar", "rockstar-gateway"}
IMAGES = [Image(bytes([number]), [[[number / 255]]]) for number in range(64)]


def run_of(tmp_path):
    return Run(Path("python"), tmp_path, "cnn", "litert", 1, (2, 3), tmp_path)


def test_every_system_is_measured_once_per_model_and_engine():
    starts = [
        (measurement.system.name, measurement.model, measurement.engine)
        for measurement in plan_run(CHOICE, PYTHONS, 0)
        if measurement.workers == 2
    ]
    assert len(set(starts)) == len(starts)
    assert {name for name, model, engine in starts if (model, engine) == ("cnn", "litert")} == set(
        SYSTEMS
    )


@pytest.mark.parametrize("name", ["flask-constant", "rockstar-grpc"])
def test_systems_get_only_the_loads_that_fit(name):
    loads = {
        (workload.name, measurement.engine, measurement.model)
        for measurement in plan_run(CHOICE, PYTHONS, 0)
        if measurement.system.name == name
        for workload, _ in measurement.loads
    }
    over_grpc = {
        ("png32", "litert", "cnn"),
        ("logistic", "litert", "logistic"),
        ("png", "tensorflow", "cnn"),
    }
    assert loads == {("png", "litert", "cnn")} | (over_grpc if name == "rockstar-grpc" else set())


def test_a_system_that_is_not_installed_is_left_out():
    installed = {key: path for key, path in PYTHONS.items() if key[0] != "ray"}
    names = {measurement.system.name for measurement in plan_run(CHOICE, installed, 0)}
    assert names == set(SYSTEMS) - {"ray"}


def test_only_our_gateway_is_overloaded_and_tried_with_one_worker():
    measurements = plan_run(CHOICE, PYTHONS, 0)
    overload = (WORKLOADS["overload"], 512)
    assert {each.system.name for each in measurements if overload in each.loads} == GATEWAYS
    assert {each.system.name for each in measurements if each.workers == 1} == GATEWAYS


def test_peers_at_equal_work_import_the_contract_package(tmp_path):
    plain, equal = (
        SYSTEMS[name].environment(run_of(tmp_path)) for name in ("mosec", "mosec-equal")
    )
    assert (plain["BENCHMARK_EQUAL_WORK"], equal["BENCHMARK_EQUAL_WORK"]) == ("", "1")
    assert equal["PYTHONPATH"].removeprefix(plain["PYTHONPATH"]).endswith("/contract")


@pytest.mark.parametrize(
    ("workload", "system"),
    [
        pytest.param(workload, system, id=f"{workload.name}-{system.name}")
        for workload in WORKLOADS.values()
        for system in SYSTEMS.values()
        if workload.fits(system)
    ],
)
def test_requests_have_as_many_images_as_the_workload_defines(workload, system, tmp_path):
    requests = workload.requests(system, run_of(tmp_path), IMAGES)
    sizes = [size for _, size, count in workload.recipe for _ in range(count)]
    assert [request.predictions for request in requests[: len(sizes)]] == sizes


def test_one_png_after_the_other_comes_from_all_images(tmp_path):
    requests = WORKLOADS["png"].requests(SYSTEMS["fastapi"], run_of(tmp_path), IMAGES)
    assert {request.body for request in requests} == {image.png for image in IMAGES}
