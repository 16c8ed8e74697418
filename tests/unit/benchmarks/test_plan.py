"""The loads of a run by system, and their order."""

from pathlib import Path

import pytest

from benchmarks.serving.plan import Choice, plan_round
from benchmarks.serving.system import Image, Run
from benchmarks.serving.systems import SYSTEMS
from benchmarks.serving.workloads import WORKLOADS

PYTHONS = {(name, engine): Path("python") for name in SYSTEMS for engine in SYSTEMS[name].engines}
CHOICE = Choice(
    systems=tuple(SYSTEMS.values()),
    workloads=tuple(WORKLOADS),
    connections=(1, 16),
    tensorflow=True,
    curves=True,
    together=False,
)
IMAGES = [Image(bytes([number]), [[[number / 255]]]) for number in range(64)]


def run_of(tmp_path):
    return Run(Path("python"), tmp_path, "cnn", "litert", 1, (2, 3), tmp_path)


def test_each_load_goes_over_all_systems_before_the_next():
    measurements = plan_round(CHOICE, PYTHONS, 0)
    assert [measurement.system.name for measurement in measurements[: len(SYSTEMS)]] == list(
        SYSTEMS
    )
    assert all(
        measurement.loads[0][0].name == "png" for measurement in measurements[: len(SYSTEMS)]
    )


def test_rounds_begin_with_different_systems():
    first = [plan_round(CHOICE, PYTHONS, number)[0].system.name for number in range(3)]
    assert len(set(first)) == 3


def test_the_constant_response_gets_only_one_png():
    loads = {
        (workload.name, measurement.engine, measurement.model)
        for measurement in plan_round(CHOICE, PYTHONS, 0)
        if measurement.system.name == "flask-constant"
        for workload, _ in measurement.loads
    }
    assert loads == {("png", "litert", "cnn")}


def test_a_system_that_is_not_installed_is_left_out():
    installed = {key: path for key, path in PYTHONS.items() if key[0] != "ray"}
    names = {measurement.system.name for measurement in plan_round(CHOICE, installed, 0)}
    assert names == set(SYSTEMS) - {"ray"}


def test_only_the_gateway_is_overloaded_and_tried_with_one_worker():
    measurements = plan_round(CHOICE, PYTHONS, 0)
    assert {measurement.system.name for measurement in measurements if measurement.overload} == {
        "rockstar"
    }
    assert {
        measurement.system.name for measurement in measurements if measurement.workers == 1
    } == {"rockstar"}


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
