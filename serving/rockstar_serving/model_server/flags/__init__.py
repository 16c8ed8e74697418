"""Command line flags, named and written as TensorFlow Serving's: one module for each subject."""
