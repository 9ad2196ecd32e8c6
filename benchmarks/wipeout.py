"""What wipeout saves: parameters and time of a search round, as experts leave the supernet.

A round is a reward pass and a weight step (algorithm 1, lines 4-8), on random images.
"""

import torch
from torch.nn import functional as F

from benchmarks.timing import in_turn
from xnas import XNAS, DartsSpace, StackPlan, count_parameters
from xnas.space.forecaster import Forecaster

PLAN = StackPlan(image_channels=3, num_classes=10, channels=8, cells=4, stem="cifar")
BATCH, SIZE = 32, 32


class Searched:
    """A supernet of which every forecaster has the same number of experts alive."""

    def __init__(self, alive: int) -> None:
        torch.manual_seed(0)
        self.model = DartsSpace().supernet(PLAN).to(memory_format=torch.channels_last)
        self.weights = torch.optim.SGD(self.model.parameters(), lr=0.01)
        # In the order of the list: poolings, skip connections, separable, then dilated convolutions leave.
        for forecaster in [module for module in self.model.modules() if isinstance(module, Forecaster)]:
            for name in forecaster.names[: len(forecaster.names) - alive]:
                forecaster.remove(name)
        self.experts = XNAS(self.model, rounds=10, batch_size=BATCH, zeta=None)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)
        self.images = self.images.to(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (BATCH,), generator=generator)

    def round(self) -> None:
        """One round."""
        self.weights.zero_grad()
        F.cross_entropy(self.model(self.images), self.labels).backward()
        self.weights.step()
        self.experts.measure(lambda: F.cross_entropy(self.model(self.images), self.labels, reduction="none"))
        self.experts.step()


def main(n: int = 5) -> None:
    """Print parameters and round time against the experts alive."""
    print(
        f"supernet of {PLAN.cells} cells, C = {PLAN.channels}, batch {BATCH}, {SIZE} x {SIZE}, n = {n} rounds in turn"
    )
    searched = {alive: Searched(alive) for alive in (7, 5, 3, 2, 1)}
    timings = in_turn({str(alive): item.round for alive, item in searched.items()}, n=n)
    for alive, item in searched.items():
        parameters, timing = count_parameters(item.model), timings[str(alive)]
        share = parameters / count_parameters(searched[7].model)
        print(
            f"{alive} of 7 experts alive: {parameters:>8,} parameters ({share:4.0%}), "
            f"round {timing} ({timing.mean / timings['7'].mean:4.0%})"
        )
