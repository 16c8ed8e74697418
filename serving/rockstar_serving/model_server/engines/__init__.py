"""Engines, which run models: one module for each runtime."""
