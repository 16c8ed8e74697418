"""Bare Flask on gunicorn with threads: a minimal server.

gunicorn --workers 2 --worker-class gthread --threads 4; two to four threads per core, as
https://docs.gunicorn.org/en/stable/settings.html#threads recommends.
"""

import numpy as np
from classifier import decode, from_environment, predictions
from flask import Flask, Response, jsonify, request


def create_app() -> Flask:
    """Create the application, with a model in each worker."""
    app = Flask(__name__)
    model = from_environment()

    @app.post("/predict")
    def predict() -> Response:
        if request.mimetype == "image/png":
            images = decode(request.get_data())[np.newaxis]
        elif request.mimetype == "application/json":
            images = np.asarray(request.get_json()["instances"], np.float32)
        else:
            files = request.files.getlist("images")
            images = np.stack([decode(file.read()) for file in files])
        return jsonify(predictions=predictions(model.predict(images)))

    return app


def create_constant() -> Flask:
    """Create an application that only reads the body and returns constant JSON."""
    app = Flask(__name__)
    constant = [{"label": "7", "probabilities": [0.0] * 7 + [1.0] + [0.0] * 2}]

    @app.post("/predict")
    def predict() -> Response:
        request.get_data()
        return jsonify(predictions=constant)

    return app
