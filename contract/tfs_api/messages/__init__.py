"""Generated message classes, wire-compatible with TensorFlow Serving's by field number."""
