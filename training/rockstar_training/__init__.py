"""Data, models, training and export. The only package that imports TensorFlow at module level."""
