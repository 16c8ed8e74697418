"""Serving benchmarks: RockstarTF and alternatives; see benchmarks/README.md."""
