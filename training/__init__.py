"""The offline half: data, models, training and export. The only room that imports TensorFlow."""
