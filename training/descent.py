"""The path of gradient descent: weight and bias of a line, step by step."""

from dataclasses import dataclass, field

from serving.contract import TableInput
from serving.tables import NumericColumn
from training.config import TrainConfig
from training.network import Network
from training.prepared import Prepared


@dataclass
class DescentPath:
    """W and b of y = W x + b after each epoch, for x as the network takes it: standardised.

    Attributes:
        column: x, with its mean and scale.
        points: W and b, from where training began.
    """

    column: NumericColumn
    points: list[tuple[float, float]] = field(default_factory=list)

    def watch(self, network: Network) -> None:
        """Note where the network is."""
        scale = network.task.target_std
        weight, bias = (
            scale * float(variable.numpy().reshape(-1)[0]) for variable in network.weights
        )
        self.points.append((weight, bias))

    @property
    def line(self) -> tuple[float, float]:
        """W and b in the end, in the data's own units."""
        weight, bias = self.points[-1]
        slope = weight / self.column.scale
        return slope, bias - slope * self.column.mean


def path_of(config: TrainConfig, data: Prepared) -> DescentPath | None:
    """What watches a linear model of one number; None for other models, which have no such path."""
    if config.model != "linear" or not isinstance(data.input, TableInput):
        return None
    first, *others = data.input.columns
    if others or not isinstance(first, NumericColumn) or first.width > 1:
        return None
    return DescentPath(first)
