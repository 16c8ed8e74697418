"""The path of gradient descent: weight and bias of a line, step by step."""

from dataclasses import dataclass, field

from serving.contract import TableInput
from serving.tables import NumericColumn
from training.config import TrainConfig
from training.network import Network
from training.prepared import Prepared


@dataclass
class DescentPath:
    """W and b of y = W x + b after each epoch, in the units of the data.

    Attributes:
        column: x, which the network takes standardised.
        points: W and b, from where training began.
    """

    column: NumericColumn
    points: list[tuple[float, float]] = field(default_factory=list)

    def watch(self, network: Network) -> None:
        """Note where the network is."""
        weight, bias = (float(variable.numpy().reshape(-1)[0]) for variable in network.weights)
        slope = weight / self.column.scale
        self.points.append((slope, bias - slope * self.column.mean))


def path_of(config: TrainConfig, data: Prepared) -> DescentPath | None:
    """What watches a linear model of one number; None for other models, which have no such path."""
    if config.model != "linear" or not isinstance(data.input, TableInput):
        return None
    first, *others = data.input.columns
    return DescentPath(first) if isinstance(first, NumericColumn) and not others else None
