"""The report of a training run: an HTML page, its figures, and the model card."""
