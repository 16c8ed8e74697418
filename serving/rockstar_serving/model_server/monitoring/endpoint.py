"""The metrics of a server and the page that Prometheus reads."""

from rockstar_serving.model_server.monitoring.exposition import CONTENT_TYPE, exposition
from rockstar_serving.model_server.monitoring.metrics import ServerMetrics


class Monitoring:
    """The metrics of a server, and where they are served.

    Attributes:
        path: of the page, below the REST port.
        content_type: of the page.
        metrics: an Observer.
    """

    content_type = CONTENT_TYPE

    def __init__(self, path: str) -> None:
        """Make metrics that are all zero.

        Args:
            path: where they are served.
        """
        self.path = path
        self.metrics = ServerMetrics()

    def page(self) -> bytes:
        """All metrics as text."""
        return exposition(self.metrics.registry)
