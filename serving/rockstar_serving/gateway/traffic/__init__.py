"""Which requests are let in, and where they go."""
