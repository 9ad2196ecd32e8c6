"""Every operation keeps the width and gives the size that its stride asks for."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from xnas.space.names import SEARCHABLE
from xnas.space.operations import (
    NETWORK_STYLE,
    SUPERNET_STYLE,
    EverySecond,
    FactorizedReduce,
    Norm,
    NormStyle,
    build_operation,
)

STYLES = {"network": NETWORK_STYLE, "supernet": SUPERNET_STYLE}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", SEARCHABLE)
def test_an_operation_gives_the_size_of_its_stride_rounded_up(
    name: str, stride: int, style: NormStyle
) -> None:
    operation = build_operation(name, 4, stride=stride, style=style)
    for height, width in ((8, 8), (7, 5), (1, 2), (4, 9)):
        inputs = torch.randn(2, 4, height, width)
        outputs = operation(inputs)
        assert outputs.shape == (2, 4, -(-height // stride), -(-width // stride))
        assert outputs.isfinite().all()


def test_an_unknown_operation_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"^unknown operation 'skip_conect'; did you mean 'skip_connect'\? Known: none"
    ):
        build_operation("skip_conect", 4, stride=1, style=NETWORK_STYLE)


@pytest.mark.parametrize("stride", [1, 2])
def test_average_pooling_does_not_count_padding(stride: int) -> None:
    pool = build_operation("avg_pool_3x3", 1, stride=stride, style=NETWORK_STYLE)
    ones = torch.ones(1, 1, 5, 5)
    assert torch.equal(pool(ones), torch.ones_like(pool(ones)))


@pytest.mark.parametrize("stride", [1, 2])
def test_none_gives_zeros_and_passes_no_gradient(stride: int) -> None:
    inputs = torch.randn(2, 3, 5, 5, requires_grad=True)
    outputs = build_operation("none", 3, stride=stride, style=NETWORK_STYLE)(inputs)
    assert not outputs.any()
    assert not outputs.requires_grad


def test_skip_at_stride_1_is_the_input_itself() -> None:
    inputs = torch.randn(1, 2, 3, 3)
    assert build_operation("skip_connect", 2, stride=1, style=NETWORK_STYLE)(inputs) is inputs


@pytest.mark.parametrize("channels", [2, 5])
def test_skip_at_stride_2_joins_convolutions_of_even_and_of_odd_pixels(channels: int) -> None:
    reduce = FactorizedReduce(3, channels, style=NETWORK_STYLE)
    inputs = torch.randn(2, 3, 6, 6)
    active = inputs.relu()
    parts = [reduce.even(active), reduce.odd(active[:, :, 1:, 1:])]
    torch.testing.assert_close(reduce(inputs), reduce.norm(torch.cat(parts, dim=1)))
    assert parts[0].shape == (2, channels // 2, 3, 3)


def kinds(name: str, style: NormStyle) -> list[str]:
    modules = build_operation(name, 4, stride=1, style=style).modules()
    return [type(module).__name__ for module in modules if not isinstance(module, nn.Sequential)]


def test_a_separable_convolution_has_two_rounds_and_a_dilated_one_has_one() -> None:
    one_round = ["ReLU", "DepthwiseConv2d", "Conv2d", "Norm"]
    assert kinds("sep_conv_5x5", NETWORK_STYLE) == one_round * 2
    assert kinds("dil_conv_5x5", NETWORK_STYLE) == one_round
    dilated = build_operation("dil_conv_3x3", 4, stride=2, style=NETWORK_STYLE)
    assert isinstance(dilated, nn.Sequential)
    assert isinstance(dilated[1], nn.Conv2d)
    assert (dilated[1].dilation, dilated[1].stride) == ((2, 2), (2, 2))


def test_the_second_round_of_a_separable_convolution_keeps_the_size() -> None:
    separable = build_operation("sep_conv_3x3", 4, stride=2, style=NETWORK_STYLE)
    strides = [module.stride[0] for module in separable.modules() if isinstance(module, nn.Conv2d)]
    assert strides == [2, 1, 1, 1]


@pytest.mark.parametrize("name", ["max_pool_3x3", "avg_pool_3x3"])
def test_only_in_the_supernet_a_norm_follows_pooling(name: str) -> None:
    assert kinds(name, NETWORK_STYLE)[1:] == []
    assert kinds(name, SUPERNET_STYLE)[1:] == ["Norm"]


@pytest.mark.parametrize("name", SEARCHABLE)
def test_norms_of_the_supernet_have_no_affine_part_and_no_running_average(name: str) -> None:
    for stride in (1, 2):
        for module in build_operation(name, 4, stride=stride, style=SUPERNET_STYLE).modules():
            if isinstance(module, nn.BatchNorm2d):
                assert not module.affine
                assert not module.track_running_stats


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("running", [False, True])
def test_a_norm_of_16_bits_rounds_once_from_statistics_of_full_precision(affine: bool, running: bool) -> None:
    torch.manual_seed(0)
    features = (100 + torch.randn(8, 3, 5, 5)).bfloat16().requires_grad_()
    norm = Norm(3, affine=affine, track_running_stats=running)
    plain = nn.BatchNorm2d(3, affine=affine, track_running_stats=running).double()
    exact = features.detach().double().requires_grad_()
    outputs, expected = norm(features), plain(exact)
    assert outputs.dtype == torch.bfloat16
    assert torch.equal(outputs, expected.bfloat16())
    upstream = torch.randn_like(outputs)
    outputs.backward(upstream)
    expected.backward(upstream.double())
    assert features.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(features.grad.double(), exact.grad, rtol=2**-8, atol=1e-5)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name].to(value), value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_norm_of_full_precision_is_torchs_own_bit_for_bit(dtype: torch.dtype) -> None:
    features = torch.randn(4, 3, 5, 5, dtype=dtype)
    assert torch.equal(Norm(3).to(dtype)(features), nn.BatchNorm2d(3).to(dtype)(features))


# A pointwise convolution with a stride destroyed the heap in its backward pass, at 64 x 64 and 4 channels.
def test_few_channels_of_large_images_are_halved_without_harm() -> None:
    code = (
        "import torch\nfrom xnas.space.operations import NETWORK_STYLE, FactorizedReduce\n"
        "for channels, side in ((2, 64), (4, 64), (8, 48), (12, 128)):\n"
        "    reduce = FactorizedReduce(channels, 4, style=NETWORK_STYLE).to(memory_format=torch.channels_last)\n"
        "    images = torch.randn(2, channels, side, side).contiguous(memory_format=torch.channels_last)\n"
        "    for _ in range(20):\n"
        "        reduce(images.requires_grad_()).sum().backward()\n"
        "        blocks = [torch.randn(n) for n in range(100, 5000, 97)]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # a process of its own: it would end this one


def test_every_second_pixel_is_what_a_stride_takes() -> None:
    layer = EverySecond(5, 3)
    for images in (
        torch.randn(2, 5, 7, 9),
        torch.randn(2, 5, 8, 6).contiguous(memory_format=torch.channels_last),
    ):
        strided = torch.nn.functional.conv2d(images, layer.weight, stride=2)
        torch.testing.assert_close(layer(images), strided)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("name", SEARCHABLE)
def test_an_operation_brought_to_16_bits_computes_in_them(
    name: str, style: NormStyle, training: bool, dtype: torch.dtype
) -> None:
    inputs = torch.randn(2, 4, 6, 7)
    for stride in (1, 2):
        operation = build_operation(name, 4, stride=stride, style=style).train(training)
        exact = operation(inputs)
        outputs = operation.to(dtype)(inputs.to(dtype))
        assert outputs.dtype == dtype
        assert torch.allclose(outputs.float(), exact, atol=0.1)
