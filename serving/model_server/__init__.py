"""The embedded model server: TensorFlow Serving's flags, folders, gRPC and REST API on LiteRT."""
