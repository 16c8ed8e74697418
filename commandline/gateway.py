"""`rockstar gateway`."""

from serving.gateway.command import gateway

__all__ = ["gateway"]
