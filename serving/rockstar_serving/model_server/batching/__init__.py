"""Requests that wait for the same signature of a version run together."""
