"""Base paths in object stores: local copies of the versions that a model needs."""
