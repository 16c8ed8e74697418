"""Serving measured beside what people would use instead; see benchmarks/README.md."""
