"""Load from HttpClient: prints the status and seconds of each prediction.

python -m benchmarks.serving.client_load URL MODEL FOLDER CLIENTS SECONDS

Each client is a thread that predicts the PNGs in the folder, one after the other.
"""

import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rockstar_client import CallError, HttpClient


def main(url: str, model: str, folder: str, clients: str, seconds: str) -> None:
    """Predict until the time is over, and print."""
    images = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    end = time.perf_counter() + float(seconds)

    def predict(first: int) -> list[str]:
        lines = []
        with HttpClient(url) as client:
            for image in itertools.islice(itertools.cycle(images), first, None):
                started = time.perf_counter()
                if started > end:
                    break
                try:
                    client.predict(model, image, top=10)
                    status = 200
                except CallError:
                    status = 0
                lines.append(f"{status} {time.perf_counter() - started:.6f}")
        return lines

    with ThreadPoolExecutor(int(clients)) as pool:
        for lines in pool.map(predict, range(int(clients))):
            print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
