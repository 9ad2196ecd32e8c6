"""A training step of a published network: a plain tree of torch's own modules, NCHW, against ours."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.figure import Figure
from benchmarks.memory import peak_ratio
from benchmarks.options import Options
from benchmarks.plain import plain
from benchmarks.timing import in_turn, milliseconds, time_ratio
from xnas import Network, published_genotype
from xnas.config.schema import RetrainConfig
from xnas.space.backbone import CellInputs
from xnas.space.darts.network import NetworkCell
from xnas.train.build import network_spec
from xnas.train.device import make_repeatable
from xnas.train.step import build_sgd, parameters_of

GENOTYPE = "xnas"
USUAL = (RetrainConfig(channels=36, cells=20, batch_size=32), 32)
SMALL = (RetrainConfig(channels=4, cells=3, batch_size=4), 8)
"""Settings of retraining, and the side of an image in pixels."""


def plain_network_logits(network: Network, images: Tensor) -> Tensor:
    """The logits of a network, (B, D): operation by operation, by torch's own layers."""
    before_last, last = network.stem(images)
    for module, excitation in zip(network.cells, network.excitations, strict=True):
        assert isinstance(module, NetworkCell)
        before_last, last = last, excitation(_cell(module, before_last, last))
    logits_BD: Tensor = network.classifier(last.mean(dim=(2, 3)))
    return logits_BD


def _cell(cell: NetworkCell, before_last: Tensor, last: Tensor) -> Tensor:
    assert isinstance(cell.inputs, CellInputs)
    nodes = [plain(cell.inputs.before_last, before_last), plain(cell.inputs.last, last)]
    edges = [
        (operation, edge.source) for operation, edge in zip(cell.operations, cell.cell.edges, strict=True)
    ]
    for first, second in zip(edges[::2], edges[1::2], strict=True):
        nodes.append(plain(first[0], nodes[first[1]]) + plain(second[0], nodes[second[1]]))
    return torch.cat([nodes[node] for node in cell.cell.concat], dim=1)


class Step:
    """A network in the middle of its training, as retraining builds it, or plain."""

    def __init__(self, *, small: bool, plain: bool = False, activation_checkpointing: bool = False) -> None:
        config, size = SMALL if small else USUAL
        make_repeatable(0)
        layout = torch.contiguous_format if plain else torch.channels_last
        plan = network_spec(
            config, image_channels=3, num_classes=10, activation_checkpointing=activation_checkpointing
        )
        network = Network(published_genotype(GENOTYPE), plan)
        self.network = network.to(memory_format=layout).train()
        self.forward: Callable[[Tensor], Tensor] = self.network
        self.weights = build_sgd(self.network.parameters(), config)
        if plain:
            self.forward = lambda images: plain_network_logits(self.network, images)
            self.weights = torch.optim.SGD(
                self.network.parameters(), lr=config.learning_rate, momentum=config.momentum,
                weight_decay=config.weight_decay,
            )  # fmt: skip
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(config.batch_size, 3, size, size, generator=generator)
        self.images = images.contiguous(memory_format=layout)
        self.labels = torch.randint(10, (config.batch_size,), generator=generator)
        self.clip_norm = config.clip_norm

    def step(self) -> None:
        """One step of the weights."""
        self.weights.zero_grad(set_to_none=True)
        F.cross_entropy(self.forward(self.images), self.labels).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters_of(self.weights), self.clip_norm)
        self.weights.step()


def measure(options: Options) -> list[Figure]:
    """Steps in turn."""
    steps = {kind: Step(small=options.small, plain=kind == "plain") for kind in ("plain", "ours")}
    timings = in_turn({kind: step.step for kind, step in steps.items()}, n=options.repeats(5))
    unit = "plain / ours"
    cases = {"plain": "plain retraining step", "ours": "our retraining step"}
    return [
        time_ratio(
            "time of a retraining step", unit, timings["plain"], timings["ours"], better="more", target=1.5
        ),
        *(milliseconds(f"{kind} retraining step", timing) for kind, timing in timings.items()),
        *peak_ratio("a retraining step", cases, unit, options),
    ]
