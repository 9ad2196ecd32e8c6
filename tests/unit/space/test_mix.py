"""The mixture and its written-out gradients are those of a plain weighted sum.

B: samples; K: experts.
"""

import pytest
import torch
from torch import Tensor

from xnas.space.mix import mix

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def plain_mix(weights: Tensor, outputs: list[Tensor]) -> Tensor:
    total = torch.zeros_like(outputs[0])
    for k, output in enumerate(outputs):
        share = weights[..., k]
        total = total + output * share.reshape(*share.shape, *([1] * (output.dim() - share.dim())))
    return total


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 5), (4, 2, 3, 5), (1, 2, 3, 3)])
@pytest.mark.parametrize("experts", [1, 2, 5])
@pytest.mark.parametrize("per_sample", [False, True])
def test_mixture_and_all_gradients_are_those_of_a_plain_sum(
    shape: tuple[int, ...], experts: int, per_sample: bool
) -> None:
    torch.manual_seed(experts)
    outputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(experts)]
    size = (shape[0], experts) if per_sample else (experts,)
    weights = torch.rand(size, dtype=torch.float64).requires_grad_()
    fast, plain = mix(weights, outputs), plain_mix(weights, outputs)
    torch.testing.assert_close(fast, plain, **CLOSE)
    upstream = torch.randn_like(plain)
    torch.testing.assert_close(
        torch.autograd.grad(fast, (weights, *outputs), upstream),
        torch.autograd.grad(plain, (weights, *outputs), upstream),
        **CLOSE,
    )


def test_gradients_pass_where_only_some_of_the_outputs_can_learn() -> None:
    weights = torch.tensor([0.25, 0.75], dtype=torch.float64)
    fixed, learning = torch.ones(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    learning.requires_grad_()
    mix(weights, [fixed, learning]).sum().backward()
    assert learning.grad is not None
    torch.testing.assert_close(learning.grad, torch.full_like(learning, 0.75))


def test_one_output_used_twice_adds_its_gradients() -> None:
    inputs = torch.randn(2, 3, requires_grad=True)
    mix(torch.tensor([0.3, 0.7]), [inputs, inputs * 2]).sum().backward()
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad, torch.full_like(inputs, 1.7))


def test_the_outputs_of_the_experts_are_not_changed() -> None:
    outputs = [torch.ones(2, 2), torch.ones(2, 2)]
    mix(torch.tensor([0.5, 0.5]), outputs).add_(1)
    assert all(torch.equal(output, torch.ones(2, 2)) for output in outputs)


def test_a_lone_expert_is_passed_on_as_it_is() -> None:
    output = torch.randn(2, 2)
    assert mix(torch.ones(1), [output]) is output


def test_weights_in_double_precision_keep_the_type_of_the_outputs() -> None:
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    mixed = mix(weights, [torch.ones(2, 2), torch.ones(2, 2)])
    assert mixed.dtype == torch.float32
    (gradient,) = torch.autograd.grad(mixed.sum(), weights)
    assert gradient.dtype == torch.float64


@pytest.mark.parametrize("per_sample", [False, True])
def test_outputs_of_16_bits_are_mixed_and_rewarded_in_32(per_sample: bool) -> None:
    torch.manual_seed(0)
    outputs = [torch.randn(3, 4, 5, 5).bfloat16().requires_grad_() for _ in range(7)]
    weights = torch.rand((3, 7) if per_sample else (7,)).softmax(dim=-1).requires_grad_()
    exact = [output.detach().double().requires_grad_() for output in outputs]
    exact_weights = weights.detach().double().requires_grad_()
    mixed, expected = mix(weights, outputs), plain_mix(exact_weights, exact)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.double(), expected, rtol=2**-8, atol=1e-6)  # rounded once
    upstream = torch.randn_like(mixed)
    by_weights, *by_outputs = torch.autograd.grad(mixed, (weights, *outputs), upstream)
    exact_by_weights, *exact_by_outputs = torch.autograd.grad(
        expected, (exact_weights, *exact), upstream.double()
    )
    assert by_weights.dtype == torch.float32
    torch.testing.assert_close(by_weights.double(), exact_by_weights, rtol=1e-5, atol=1e-5)
    for found, wanted in zip(by_outputs, exact_by_outputs, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-6)
