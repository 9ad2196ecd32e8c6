"""Networks with dropped paths compute what a plain network does: logits and gradients, in float64 within 1e-9.

With kernels, without them, and computed twice to save memory.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain import plain
from xnas.kernels.calls import supported
from xnas.space.backbone import CellInputs, NetworkSpec
from xnas.space.darts.network import Network, NetworkCell
from xnas.space.fast.dispatch import sum_outputs, sum_outputs_with_drop_path
from xnas.space.genotype import CellGenotype, Edge, Genotype
from xnas.space.names import OPERATIONS
from xnas.space.operations import NETWORK_STYLE, build_operation
from xnas.space.published import published_genotype

from ...helpers.equal_supernets import CLOSE
from .fast.test_cpu import module_by_module

LABELS = torch.tensor([0, 2, 1, 1, 0])


def every_operation() -> Genotype:
    """A cell with each operation that an edge can be, twice in the normal cell."""
    names = (*OPERATIONS, "skip_connect")
    edges = tuple(Edge(name, number % 2) for number, name in enumerate(names))
    cell = CellGenotype(edges=edges, concat=tuple(range(2, 2 + len(edges) // 2)))
    return Genotype(normal=cell, reduction=cell)


def network(genotype: Genotype, *, activation_checkpointing: bool = False) -> Network:
    torch.manual_seed(0)
    plan = NetworkSpec(
        image_channels=2,
        num_classes=3,
        channels=4,
        cells=3,
        activation_checkpointing=activation_checkpointing,
    )
    found = Network(genotype, plan).double().train()
    for norm in found.modules():  # gains and offsets as in the middle of a training
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
    return found


def images() -> Tensor:
    return torch.randn(5, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def factors(model: Network, *, keep: float = 0.6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    drawn = [torch.rand(len(cell.operations), 5, generator=generator) for cell in model.cells]  # type: ignore[arg-type]
    return [(drawn_EB < keep).float() / keep for drawn_EB in drawn]


def plain_logits(model: Network, paths: Sequence[Tensor]) -> Tensor:
    """Operation by operation by torch's own layers, then image by image."""
    before_last, last = model.stem(images())
    for cell, factors_EB in zip(model.cells, paths, strict=True):
        assert isinstance(cell, NetworkCell)
        assert isinstance(cell.inputs, CellInputs)
        nodes = [plain(cell.inputs.before_last, before_last), plain(cell.inputs.last, last)]
        outputs = []
        for edge, operation, factors_B in zip(cell.cell.edges, cell.operations, factors_EB, strict=True):
            output = plain(operation, nodes[edge.source])
            if not isinstance(operation, nn.Identity):
                output = torch.stack([f * x for f, x in zip(factors_B.tolist(), output, strict=True)])
            outputs.append(output)
            if len(outputs) % 2 == 0:
                nodes.append(outputs[-2] + outputs[-1])
        before_last, last = last, torch.cat([nodes[node] for node in cell.cell.concat], dim=1)
    logits: Tensor = model.classifier(last.mean(dim=(2, 3)))
    return logits


def logits_of(model: Network, paths: Sequence[Tensor] | None) -> Tensor:
    *_, last = model.features(images(), paths=paths)
    return model.classify(last)


def gradients(model: Network, logits: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(F.cross_entropy(logits, LABELS), list(model.parameters()), allow_unused=True)
    return [torch.zeros(()) if gradient is None else gradient for gradient in found]


GENOTYPES = {
    "every operation": every_operation(),
    **{name: published_genotype(name) for name in ("xnas", "darts_v2", "nasnet_a")},
}


@pytest.mark.parametrize("name", GENOTYPES)
@pytest.mark.parametrize("how", ["kernels", "modules", "computed twice"])
def test_a_network_with_dropped_paths_is_the_plain_one(name: str, how: str) -> None:
    model = network(GENOTYPES[name], activation_checkpointing=how == "computed twice")
    paths = factors(model)
    expected = plain_logits(model, paths)
    expected_gradients = gradients(model, expected)
    if how == "modules":
        with module_by_module():
            found = logits_of(model, paths)
    else:
        assert supported(images())
        found = logits_of(model, paths)
    torch.testing.assert_close(found, expected, **CLOSE)
    torch.testing.assert_close(gradients(model, found), expected_gradients, **CLOSE)
    assert (found - logits_of(model, None)).abs().max() > 0.01


def test_with_factors_of_one_it_is_the_network_itself() -> None:
    model = network(GENOTYPES["xnas"])
    ones = [torch.ones(8, 5) for _ in model.cells]
    torch.testing.assert_close(logits_of(model, ones), model(images()), **CLOSE)


def test_an_image_without_any_path_of_a_node_still_has_its_identities() -> None:
    sources = [torch.randn(3, 4, 5, 5, dtype=torch.float64) for _ in range(2)]
    modules = [
        build_operation(name, 4, stride=1, style=NETWORK_STYLE).double()
        for name in ("skip_connect", "max_pool_3x3")
    ]
    dropped = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    found = sum_outputs_with_drop_path(modules, sources, dropped, training=True)
    torch.testing.assert_close(found[:2], sources[0][:2])
    torch.testing.assert_close(found[2], sources[0][2] + 2 * modules[1](sources[1])[2])


def test_a_strided_skip_can_be_dropped() -> None:
    skip = build_operation("skip_connect", 4, stride=2, style=NETWORK_STYLE).double().train()
    source = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    whole = sum_outputs([skip], [source], training=True)
    found = sum_outputs_with_drop_path([skip], [source], torch.tensor([[0.0, 1.0, 2.0]]), training=True)
    torch.testing.assert_close(found, torch.stack([0 * whole[0], whole[1], 2 * whole[2]]))


def test_what_is_computed_twice_drops_the_same_paths_whatever_was_drawn_between() -> None:
    models = [
        network(GENOTYPES["xnas"], activation_checkpointing=activation_checkpointing)
        for activation_checkpointing in (False, True)
    ]
    paths = factors(models[0])
    losses = [F.cross_entropy(logits_of(model, paths), LABELS) for model in models]
    torch.rand(11)
    logits_of(models[1], factors(models[1], keep=0.3))  # another batch, before the first has gone backward
    plain_gradients, saving = (
        torch.autograd.grad(loss, list(model.parameters()))
        for loss, model in zip(losses, models, strict=True)
    )
    assert torch.equal(losses[0], losses[1])
    for mine, theirs in zip(saving, plain_gradients, strict=True):
        assert torch.equal(mine, theirs)
