"""Hostile bodies: the workers of a real gateway survive them and stay small."""

import gzip
import io
from pathlib import Path

import numpy as np

from tests.images import bomb, encoded

LIMIT = 2_000_000


def filled(beginning: str, unit: str, end: str) -> bytes:
    room = LIMIT - len(beginning) - len(end)
    return (beginning + unit * (room // len(unit)) + end).encode()


def npz(save, *arrays) -> bytes:
    stream = io.BytesIO()
    save(stream, *arrays)
    return stream.getvalue()


NPY = b"\x93NUMPY\1\0F\0{'descr':'<f4','fortran_order':False,'shape':(2147483647,0,0,0)}".ljust(79)
TENSOR = '{"inputs": [{"name": "image", "shape": [1], "datatype": "FP32", "data": ['


def hostile_bodies() -> dict[str, list[tuple[str, bytes]]]:
    return {
        "/predict/toy": [
            ("application/json", filled('{"instances": [[[]', ",[]", "]]}")),
            ("application/json", filled('{"instances": [[{}', ",{}", "]]}")),
            (
                "application/json",
                filled('{"instances": [[' + '"' + "a" * 10**6 + '"', ',"b"', "]]}"),
            ),
            ("application/json", filled('{"instances": [1', ",1", "]}")),
            ("application/json", filled('{"instances": ', "[", "")),
            ("text/csv", filled("a\n", "1\n", "")),
            ("text/csv", filled("", ",", "\n1\n")),
            ("image/png", bomb()),
            ("image/png", bomb(8000, 8000)),
            ("application/x-npy", filled("\x93NUMPY", "x", "")),
            ("application/x-npy", NPY + b"\n"),
            ("application/x-npz", filled("PK\x03\x04", "x", "")),
            ("application/x-npz", npz(np.savez, *[np.zeros(1)] * 700)),
            ("application/x-npz", npz(np.savez_compressed, np.zeros(25_000_000, np.float32))),
            ("multipart/form-data; boundary=x", filled("", "--x\r\n\r\n\r\n", "--x--")),
        ],
        "/v2/models/toy/infer": [
            ("application/json", filled(TENSOR + "[]", ",[]", "]}]}")),
            ("application/json", filled(TENSOR + '"' + "a" * 10**6 + '"', ',"b"', "]}]}")),
            ("application/json", filled('{"inputs": ', "[", "")),
        ],
        "/v1/models/toy:predict": [
            (
                "application/json",
                filled('{"instances": [[' + '"' + "a" * 10**6 + '"', ',"b"', "]]}"),
            ),
            ("gzip", gzip.compress(bytes(100_000_000))),
        ],
    }


def peak_megabytes(pid: int) -> float:
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def test_workers_outlive_hostile_bodies_and_stay_small(start_gateway):
    gateway = start_gateway(f"--max-body-bytes={LIMIT}", "--workers=1")
    # The largest valid image gives the memory that a worker may need.
    assert gateway.predict(encoded(np.zeros((4096, 4096), np.uint8), "PNG")).ok
    workers = gateway.workers()
    before = [peak_megabytes(pid) for pid in workers]
    for path, bodies in hostile_bodies().items():
        for content_type, body in bodies:
            name = "Content-Encoding" if content_type == "gzip" else "Content-Type"
            answer = gateway.predict(body, path=path, **{name: content_type})
            assert answer.status_code in (400, 413), (answer.status_code, content_type, body[:60])
    assert gateway.workers() == workers
    after = [peak_megabytes(pid) for pid in workers]
    assert max(after) < max(before) + 80 * LIMIT / 2**20, (before, after)
    assert gateway.predict().ok
