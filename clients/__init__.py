"""Clients for the gateway (HTTP) and for TensorFlow Serving (gRPC), without TensorFlow."""
