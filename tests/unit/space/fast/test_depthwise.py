"""The fast depthwise convolution is the plain one: outputs and both gradients."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xnas.space.fast.depthwise import DepthwiseConv2d

SIZES = ((1, 1), (4, 4), (5, 7), (8, 3))


@pytest.mark.parametrize(("kernel", "stride", "dilation"), list(itertools.product((1, 3, 5), (1, 2), (1, 2))))
def test_outputs_and_gradients_are_those_of_the_plain_convolution(
    kernel: int, stride: int, dilation: int
) -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv2d(3, kernel, stride=stride, dilation=dilation).double()
    for height, width in SIZES:
        inputs = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
        fast = conv(inputs)
        plain = F.conv2d(inputs, conv.weight, None, stride, dilation * (kernel - 1) // 2, dilation, groups=3)
        assert fast.shape == (2, 3, -(-height // stride), -(-width // stride))
        torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
        upstream = torch.randn_like(plain)
        found = torch.autograd.grad(fast, (inputs, conv.weight), upstream)
        expected = torch.autograd.grad(plain, (inputs, conv.weight), upstream)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_kernel_may_be_flat() -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv2d(2, (1, 7)).double()
    inputs = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(inputs, conv.weight, padding=(0, 3), groups=2)
    torch.testing.assert_close(conv(inputs), plain)
    upstream = torch.randn_like(plain)
    torch.testing.assert_close(
        torch.autograd.grad(conv(inputs), (inputs, conv.weight), upstream),
        torch.autograd.grad(plain, (inputs, conv.weight), upstream),
    )


@pytest.mark.parametrize("learns", ["inputs", "weight"])
def test_only_the_gradient_that_is_asked_for_is_computed(learns: str) -> None:
    conv = DepthwiseConv2d(2, 3, dilation=2)
    conv.weight.requires_grad_(learns == "weight")
    inputs = torch.randn(1, 2, 5, 5, requires_grad=learns == "inputs")
    conv(inputs).sum().backward()
    assert (inputs.grad is not None) == (learns == "inputs")
    assert (conv.weight.grad is not None) == (learns == "weight")


def test_its_parameters_and_their_first_values_are_those_of_a_plain_convolution() -> None:
    torch.manual_seed(3)
    fast = DepthwiseConv2d(4, 5, stride=2, dilation=2)
    torch.manual_seed(3)
    plain = nn.Conv2d(4, 4, 5, stride=2, padding=4, dilation=2, groups=4, bias=False)
    assert list(fast.state_dict()) == list(plain.state_dict()) == ["weight"]
    assert torch.equal(fast.weight, plain.weight)
    images = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(fast(images), plain(images))


@pytest.mark.parametrize(("kernel", "stride", "dilation"), list(itertools.product((3, 5), (1, 2), (1, 2))))
def test_under_autocast_it_is_the_convolution_of_16_bits_and_its_weight_gradient_is_of_32(
    kernel: int, stride: int, dilation: int
) -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv2d(3, kernel, stride=stride, dilation=dilation)
    inputs = torch.randn(2, 3, 6, 7, requires_grad=True)
    plain = F.conv2d(inputs, conv.weight, None, stride, dilation * (kernel - 1) // 2, dilation, groups=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = conv(inputs)
    assert fast.dtype == torch.bfloat16
    torch.testing.assert_close(fast.float(), plain, rtol=0.05, atol=0.02)
    upstream = torch.randn_like(plain)
    found = torch.autograd.grad(fast, (inputs, conv.weight), upstream.bfloat16())
    assert all(gradient.dtype == torch.float32 for gradient in found)
    expected = torch.autograd.grad(plain, (inputs, conv.weight), upstream)
    for mine, wanted in zip(found, expected, strict=True):
        assert (mine - wanted).norm() < 0.02 * wanted.norm()
