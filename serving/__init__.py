"""The online half: contracts, TensorFlow Serving's API, the model server, the gateway."""
