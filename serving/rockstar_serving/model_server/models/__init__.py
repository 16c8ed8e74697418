"""The configured models and the lifecycle of their versions."""
