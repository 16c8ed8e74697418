"""What runs a model: one module for each runtime."""
