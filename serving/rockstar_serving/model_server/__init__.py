"""The embedded model server: TensorFlow Serving's flags, folders and APIs, without TF Serving."""
