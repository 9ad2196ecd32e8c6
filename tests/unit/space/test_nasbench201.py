import json
import re
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from xnas.space.architecture import read_genotype
from xnas.space.backbone import NetworkSpec
from xnas.space.cost import count_multiply_adds, count_parameters
from xnas.space.darts.network import build_network
from xnas.space.fast.dispatch import reference_node
from xnas.space.forecaster import forecaster_groups
from xnas.space.nasbench201.genotype import EDGES, OPERATIONS, Nasbench201Genotype, every_genotype
from xnas.space.nasbench201.space import Nasbench201Space
from xnas.space.nasbench201.stack import Nasbench201Network, Nasbench201Supernet, ResidualReduction
from xnas.space.operations import NETWORK_STYLE

TEXT = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SMALL = NetworkSpec(image_channels=3, num_classes=4, channels=4, cells=3)


def test_all_15625_architectures_have_texts_of_their_own_and_come_back_from_them() -> None:
    texts = {genotype.text: genotype for genotype in every_genotype()}
    assert len(texts) == 5**6
    assert all(Nasbench201Genotype.from_text(text) == genotype for text, genotype in texts.items())


def test_an_architecture_is_written_as_the_benchmark_writes_it_and_comes_back_from_json() -> None:
    genotype = Nasbench201Genotype.from_text(f" {TEXT}\n")
    assert genotype.by_edge[(1, 2)] == "nor_conv_1x1"
    assert genotype.by_edge[(0, 3)] == "skip_connect"
    assert genotype.text == TEXT
    assert Nasbench201Genotype.from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize(
    "around",
    [
        "Structure(4 nodes with {})",
        "'{}'",
        "('{}', 94.37)",
        "2021-03-04 12:00:00,123 genotype = Structure(4 nodes with {})",
        "the last architecture is : {}",
        "epoch 3\nStructure(4 nodes with {})\nepoch 4",
        "\x1b[1m{}\x1b[0m",
        "epoch 3 |val_acc=3| {}",
        "2026-01-01 | INFO | Structure(4 nodes with {})",
        "{} params ~ 1.2 | flops + 3",
    ],
)
def test_an_architecture_is_found_in_what_its_authors_programs_print(around: str) -> None:
    text = around.format(TEXT)
    assert Nasbench201Genotype.from_text(text) == read_genotype(text) == Nasbench201Genotype.from_text(TEXT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{TEXT} {TEXT}",
        f"Structure(4 nodes with {TEXT[:-1]})",
        TEXT + "+|none~0|none~1|none~2|none~3|",
        "|nor_conv_3x3~0|",
        TEXT[:-1],
        TEXT + "|",
        TEXT.replace("~1", "~0"),
        TEXT.replace("|+|", "||"),
        TEXT.replace("skip_connect", "skip"),
        TEXT.replace("skip_connect", "max_pool_3x3"),
        TEXT * 1000,
    ],
)
def test_text_of_another_form_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a NAS-Bench-201 architecture|unknown operation") as refusal:
        Nasbench201Genotype.from_text(text)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cell": 3}, "must be text"),
        ({"cell": None}, "must be text"),
        ({"space": "darts"}, "unknown space|must be one of"),
        ({"version": 2}, "upgrade xnas"),
        ({"more": 1}, "unknown key"),
    ],
)
def test_a_file_that_is_not_of_this_space_is_refused(changed: dict[str, object], said: str) -> None:
    fields = json.loads(Nasbench201Genotype.from_text(TEXT).to_json())
    with pytest.raises(ValueError, match=said):
        Nasbench201Genotype.from_json(json.dumps(fields | changed))


@pytest.mark.parametrize(
    "operations", [(), ("none",) * 5, ("none",) * 5 + ("max_pool_3x3",), "none", 3, None]
)
def test_other_operations_than_six_of_the_benchmark_are_refused(operations: object) -> None:
    with pytest.raises(ValueError, match=r"an operation for each of 6 edges|operation of edge"):
        Nasbench201Genotype(operations)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "parameters", "multiply_adds"),
    [
        (TEXT, 1_073_466, 153.27),
        (re.sub(r"skip_connect|nor_conv_1x1", "nor_conv_3x3", TEXT), 1_531_546, 220.12),
    ],
)
def test_the_benchmarks_networks_have_the_parameters_and_multiply_adds_that_it_publishes(
    text: str, parameters: int, multiply_adds: float
) -> None:
    # Dong and Yang 2020 give both for every architecture: 15 cells, C = 16, CIFAR-10.
    plan = NetworkSpec(image_channels=3, num_classes=10, channels=16, cells=15)
    with torch.device("meta"):
        network = build_network(Nasbench201Genotype.from_text(text), plan)
    assert count_parameters(network) == parameters
    assert round(count_multiply_adds(network, (3, 32, 32)) / 1e6, 2) == multiply_adds


def test_every_cell_of_the_supernet_is_a_replica_and_chooses_on_six_edges() -> None:
    supernet = Nasbench201Space().supernet(
        NetworkSpec(image_channels=1, num_classes=3, channels=4, cells=6, stem="strided")
    )
    (group,) = forecaster_groups(supernet).values()
    assert (group.num_forecasters, group.num_replicas, group.num_experts) == (6, 6, 5)
    assert supernet(torch.randn(2, 1, 20, 20)).shape == (2, 3)
    # It keeps no averages: its features change with the mixture.
    assert not [name for name, _ in supernet.named_buffers() if "running" in name]


@pytest.mark.parametrize("stem", ["cifar", "strided"])
def test_the_stem_gives_features_of_the_images_size_or_of_half_of_it(stem: str) -> None:
    network = build_network(
        Nasbench201Genotype.from_text(TEXT),
        NetworkSpec(image_channels=1, num_classes=3, channels=4, cells=3, stem=stem),  # type: ignore[arg-type]
    )
    sizes: list[tuple[int, ...]] = []
    for cell in (module for module in network.modules() if hasattr(module, "operations")):
        cell.register_forward_hook(lambda _, inputs, outputs: sizes.append(tuple(outputs.shape)))
    network(torch.randn(2, 1, 22, 22))
    first = 22 if stem == "cifar" else 11
    # Odd sizes are rounded up when they are halved.
    assert sizes == [
        (2, 4, first, first),
        (2, 8, -(-first // 2), -(-first // 2)),
        (2, 16, -(-first // 4), -(-first // 4)),
    ]


def test_a_reduction_is_two_convolutions_beside_an_average_and_a_pointwise_convolution() -> None:
    torch.manual_seed(2)
    block = ResidualReduction(2, 4, style=NETWORK_STYLE).eval()
    inputs = torch.randn(3, 2, 6, 6)
    (first, second), (_, pointwise) = (block.first[1], block.second[1]), block.shortcut

    def relu_conv(features: torch.Tensor, weights: torch.Tensor, stride: int) -> torch.Tensor:
        # Norms that have seen nothing pass on what they get, but for their epsilon.
        return F.conv2d(features.relu(), weights, stride=stride, padding=1) / (1 + 1e-5) ** 0.5

    expected = relu_conv(relu_conv(inputs, first.weight, 2), second.weight, 1)
    averages = inputs.reshape(3, 2, 3, 2, 3, 2).mean(dim=(3, 5))
    torch.testing.assert_close(block(inputs), expected + F.conv2d(averages, pointwise.weight))


def test_the_last_features_pass_norm_and_relu_before_they_are_averaged_and_classified() -> None:
    torch.manual_seed(3)
    network = Nasbench201Network(Nasbench201Genotype.from_text(TEXT), SMALL).eval()
    features: list[torch.Tensor] = []
    network.layers[-1].register_forward_hook(lambda _, inputs, outputs: features.append(outputs))
    logits = network(torch.randn(2, 3, 8, 8))
    means = (features[0] / (1 + 1e-5) ** 0.5).relu().mean(dim=(2, 3))
    torch.testing.assert_close(logits, means @ network.classifier.weight.T + network.classifier.bias)


def test_with_partial_channels_the_experts_of_the_supernet_are_narrower() -> None:
    def experts(parts: int) -> torch.nn.Module:
        supernet = Nasbench201Space(partial_channels=parts).supernet(SMALL)
        assert supernet(torch.randn(2, 3, 8, 8)).shape == (2, 4)
        return supernet.layers[0].forecasters[0]  # type: ignore[union-attr, return-value]

    # Of C channels all, or a half, pass a 1x1 and a 3x3 convolution.
    assert [count_parameters(experts(parts)) for parts in (1, 2)] == [10 * 4**2, 10 * 2**2]
    with pytest.raises(ValueError, match="partial_channels = 3 does not divide the 4 channels"):
        Nasbench201Space(partial_channels=3).supernet(SMALL)


def test_the_edges_are_labelled_by_source_and_node_in_the_order_of_their_forecasters() -> None:
    assert Nasbench201Space().edge_labels("cell") == ("0→1", "0→2", "1→2", "0→3", "1→3", "2→3")


def test_a_supernet_whose_weights_are_one_hot_computes_the_network_of_that_architecture() -> None:
    torch.manual_seed(0)
    space = Nasbench201Space()
    supernet = Nasbench201Supernet(SMALL, experts=OPERATIONS).double()
    genotype = space.random_genotype(3)
    network = Nasbench201Network(genotype, SMALL).double()
    (group,) = forecaster_groups(supernet).values()
    chosen = [OPERATIONS.index(operation) for operation in genotype.operations]
    for forecaster in group:
        forecaster.set_mixture(torch.eye(5)[chosen[forecaster.index]])
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    for cell in (module for module in network.modules() if hasattr(module, "operations")):
        assert len(cell.operations) == len(EDGES)
    source, target = supernet.state_dict(), network.state_dict()
    for name in target:
        match = re.fullmatch(r"layers\.(\d+)\.operations\.(\d)\.(.*)", name)
        key = name
        if match:
            layer, edge, rest = match.groups()
            key = f"layers.{layer}.forecasters.{edge}.experts.{genotype.operations[int(edge)]}.{rest}"
        if key in source:
            target[name] = source[key]
    network.load_state_dict(target)
    # The supernet's pooling is normed, the network's is not: the drawn cell has none.
    assert "avg_pool_3x3" not in genotype.operations
    torch.testing.assert_close(supernet(images), network(images), rtol=1e-9, atol=1e-9)


def test_the_kernels_compute_the_supernet_as_its_modules_do(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    supernet = Nasbench201Supernet(SMALL, experts=OPERATIONS).double()
    images = torch.randn(4, 3, 12, 12, dtype=torch.float64)

    def results() -> list[torch.Tensor]:
        supernet.zero_grad()
        logits = supernet(images)
        logits.square().sum().backward()
        return [logits.detach(), *(p.grad.clone() for p in supernet.parameters() if p.grad is not None)]

    fast = results()
    monkeypatch.setattr("xnas.space.nasbench201.stack.node_kernel", lambda inputs, **options: reference_node)
    for ours, plain in zip(fast, results(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("node", [1, 2, 3])
@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_a_network_trains_whose_node_reads_nothing(node: int, activation_checkpointing: bool) -> None:
    operations = tuple("none" if to == node else "nor_conv_3x3" for _, to in EDGES)
    torch.manual_seed(0)
    network = build_network(
        Nasbench201Genotype(operations), replace(SMALL, activation_checkpointing=activation_checkpointing)
    )
    images = torch.randn(4, 3, 12, 12)
    assert network(images).shape == (4, 4)
    network(images).square().sum().backward()
    assert network.classifier.bias.grad.abs().sum() > 0
    # A cell whose output is nothing parts the stem from the classifier.
    assert (network.stem[0].weight.grad is None) == (node == 3)


def test_none_is_chosen_only_where_it_may_be() -> None:
    log_v_EK = torch.tensor([[2.0, 1.0, 0.0, 0.0, 0.0]] * 6, dtype=torch.float64)
    assert set(Nasbench201Space().derive({"cell": log_v_EK}).operations) == {"none"}
    assert set(Nasbench201Space(choose_none=False).derive({"cell": log_v_EK}).operations) == {"skip_connect"}


def test_random_architectures_are_uniform_and_by_seed() -> None:
    space = Nasbench201Space(choose_none=False)
    drawn = [space.random_genotype(seed) for seed in range(400)]
    assert drawn == [space.random_genotype(seed) for seed in range(400)]
    for operation in OPERATIONS[1:]:
        share = sum(genotype.operations.count(operation) for genotype in drawn) / 2400
        assert share == pytest.approx(0.25, abs=0.04)
    assert not any("none" in genotype.operations for genotype in drawn)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"cells": 4}, "4 cells do not spread evenly over the 3 stages"),
        ({"cells": 3, "stem": "imagenet"}, "no imagenet stem"),
        ({"cells": 3, "squeeze_excite": True}, "no squeeze-and-excitation"),
        ({"cells": 3, "stem_channels": 8}, "got stem_channels = 8 beside channels = 4"),
    ],
)
def test_what_the_space_does_not_have_is_refused(plan: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Nasbench201Space().supernet(NetworkSpec(image_channels=3, num_classes=10, channels=4, **plan))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"experts": ("sep_conv_3x3",)}, "unknown operation 'sep_conv_3x3'"),
        ({"experts": ("none", "none")}, "listed twice"),
        ({"experts": ("none",), "choose_none": False}, "other than 'none'"),
        ({"partial_channels": 0}, "partial_channels must be at least 1"),
    ],
)
def test_a_space_with_nothing_to_choose_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Nasbench201Space(**settings)  # type: ignore[arg-type]
