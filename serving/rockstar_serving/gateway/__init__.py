"""The gateway: HTTP in, TensorFlow Serving's gRPC out."""
