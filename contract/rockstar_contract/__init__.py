"""The contract between training and serving: inputs, preprocessing and labels of a model."""
