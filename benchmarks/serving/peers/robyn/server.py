"""Robyn with two processes, which only decodes and runs the model.

python server.py --processes 2 --workers 1 --log-level WARN; for the flags see
https://robyn.tech/documentation/en/api_reference/scaling
"""

import os

from classifier import decode_body, encode_predictions, from_environment
from robyn import Headers, Request, Response, Robyn

if __name__ == "__main__":
    app = Robyn(__file__)
    model = from_environment()
    headers = Headers({"content-type": "application/json"})

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        """Run the model in the event loop: the fastest way to write it, as with FastAPI."""
        # Robyn decodes bodies that are UTF-8.
        body = request.body.encode() if isinstance(request.body, str) else request.body
        images = decode_body(body)
        return Response(200, headers, encode_predictions(model.predict(images)))

    app.start(host="127.0.0.1", port=int(os.environ["BENCHMARK_PORT"]))
