"""Batching of waiting requests to the same signature of a version."""
