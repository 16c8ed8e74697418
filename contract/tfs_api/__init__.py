"""TensorFlow Serving's API on the wire, without TensorFlow."""
