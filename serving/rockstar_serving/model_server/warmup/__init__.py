"""Warmup: requests that come with a version, replayed before it answers anybody."""
