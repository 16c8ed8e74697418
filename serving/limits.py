"""Limits that are both defaults of settings and rules of what reads inputs."""

# The largest image that is decoded, width x height.
DEFAULT_MAX_PIXELS = 16 * 2**20
