"""Bare Flask with gunicorn's threads: what one writes by hand in a quarter of an hour.

gunicorn --workers 2 --worker-class gthread --threads 4, of the two to four for each core that
https://docs.gunicorn.org/en/stable/settings.html#threads names.
"""

import numpy as np
from classifier import answers, decode, from_environment
from flask import Flask, Response, jsonify, request


def create_app() -> Flask:
    """The application, with the model loaded in each worker."""
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
        return jsonify(predictions=answers(model.predict(images)))

    return app


def create_constant() -> Flask:
    """The least that Flask does: read the body, answer the same JSON."""
    app = Flask(__name__)
    predictions = [{"label": "7", "probabilities": [0.0] * 7 + [1.0] + [0.0] * 2}]

    @app.post("/predict")
    def predict() -> Response:
        request.get_data()
        return jsonify(predictions=predictions)

    return app
