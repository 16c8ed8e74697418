"""The systems that are measured, a file each."""

from benchmarks.serving.system import System
from benchmarks.serving.systems.bare_fastapi import BareFastAPI
from benchmarks.serving.systems.bare_flask import BareFlask, ConstantFlask
from benchmarks.serving.systems.bentoml import BentoML
from benchmarks.serving.systems.litserve import LitServe
from benchmarks.serving.systems.mlserver import MLServer
from benchmarks.serving.systems.ray_serve import RayServe
from benchmarks.serving.systems.rockstar import Rockstar
from benchmarks.serving.systems.rockstar_grpc import RockstarGrpc

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        Rockstar(),
        RockstarGrpc(),
        BentoML(),
        LitServe(),
        MLServer(),
        RayServe(),
        BareFastAPI(),
        BareFlask(),
        ConstantFlask(),
    )
}
