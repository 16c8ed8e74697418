"""Bare FastAPI on uvicorn with uvloop and httptools, two workers, no access log.

The handler is `async` and runs the model in the event loop. Without a thread switch it is faster
than a plain `def`, which https://fastapi.tiangolo.com/async/ recommends for blocking code.
"""

import numpy as np
import orjson
from classifier import decode, from_environment, predictions
from fastapi import FastAPI, Request
from fastapi.responses import Response


def create_app() -> FastAPI:
    """Create the application, with a model in each worker."""
    app = FastAPI()
    model = from_environment()

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        mimetype = request.headers["content-type"].partition(";")[0]
        if mimetype == "image/png":
            images = decode(await request.body())[np.newaxis]
        elif mimetype == "application/json":
            images = np.asarray((await request.json())["instances"], np.float32)
        else:
            files = (await request.form()).getlist("images")
            images = np.stack([decode(await file.read()) for file in files])
        document = orjson.dumps({"predictions": predictions(model.predict(images))})
        return Response(document, media_type="application/json")

    return app
