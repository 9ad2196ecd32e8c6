"""The kernels compute what torch's own operations give; the same bits with any number of threads.

Float32 is compared with float64 from the same numbers, relative to the largest that is expected, or to one: that is
about the size of all terms.
B: samples; C H W: channels, height, width; K: experts.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xnas.kernels import calls

CHANNELS = (1, 3, 4, 5, 8, 16, 20, 36, 64)
SIZES = ((1, 1), (1, 5), (7, 5), (8, 8))
BATCHES = (1, 3, 33)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
EPS = 1e-5

on_all_channels = pytest.mark.parametrize("channels", CHANNELS)
in_both_types = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])


def draws(count: int, *, seed: int, **options: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Settings, each drawn from its options; the first draws go through all options of each."""
    generator = random.Random(seed)
    shuffled = {name: generator.sample(values, len(values)) for name, values in options.items()}
    for number in range(count):
        torch.manual_seed(number)
        yield {
            name: values[number] if number < len(values) else generator.choice(values)
            for name, values in shuffled.items()
        }


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def norm_of(images_BCHW: Tensor, *, affine: bool = False) -> Tensor:
    """Means, reciprocal deviations, gains and offsets of the channels, (4, C)."""
    given = images_BCHW.double()
    variance_C = given.var(dim=(0, 2, 3), correction=0)
    gain_C, offset_C = torch.ones_like(variance_C), torch.zeros_like(variance_C)
    if affine:
        gain_C, offset_C = torch.randn_like(variance_C), torch.randn_like(variance_C)
    return torch.stack([given.mean(dim=(0, 2, 3)), (variance_C + EPS).rsqrt(), gain_C, offset_C])


def normed(images_BCHW: Tensor, norm_4C: Tensor | None) -> Tensor:
    if norm_4C is None:
        return images_BCHW.double()
    mean_C, rstd_C, gain_C, offset_C = map(per_channel, norm_4C)
    return (images_BCHW.double() - mean_C) * rstd_C * gain_C + offset_C


def per_channel(values_C: Tensor) -> Tensor:
    return values_C[:, None, None]


def combined(coefficients_3C: Tensor, g: Tensor, z: Tensor) -> Tensor:
    """alpha g + beta z + gamma"""
    alpha_C, beta_C, gamma_C = coefficients_3C
    return per_channel(alpha_C) * g.double() + per_channel(beta_C) * z.double() + per_channel(gamma_C)


def assert_close(found: Tensor, expected: Tensor, *, dtype: torch.dtype, scale: Tensor | None = None) -> None:
    assert found.shape == expected.shape
    largest = (expected if scale is None else scale).abs().max().clamp(min=1)
    assert (found.double() - expected).abs().max() <= TOLERANCE[dtype] * largest


def assert_norm(found_4C: Tensor, outputs: Tensor, *, dtype: torch.dtype) -> None:
    (mean_C, rstd_C, gain_C, offset_C), (expected_mean_C, expected_rstd_C, *_) = found_4C, norm_of(outputs)
    assert found_4C.dtype == torch.float64
    assert gain_C.eq(1).all()
    assert offset_C.eq(0).all()
    assert_close(mean_C * expected_rstd_C, expected_mean_C * expected_rstd_C, dtype=dtype)
    # Squares about the first pixel lose digits where that lies far from the others.
    assert_close(rstd_C / expected_rstd_C, torch.ones_like(rstd_C), dtype=dtype, scale=torch.tensor(4.0))


def plain_separable(
    active: Tensor, depthwise: Tensor, pointwise: Tensor, stride: int, dilation: int
) -> Tensor:
    padding = [dilation * (size - 1) // 2 for size in depthwise.shape[2:]]
    hidden = F.conv2d(active, depthwise, None, stride, padding, dilation, groups=len(depthwise))
    return F.conv2d(hidden, pointwise)


SEPARABLE: Mapping[str, Sequence[Any]] = {
    "batch": BATCHES,
    "size": SIZES,
    "kernel": ((3, 3), (5, 5), (7, 7), (1, 3)),
    "stride": (1, 2),
    "dilation": (1, 2),
    "follows_a_norm": (True, False),
    "adds": (True, False),
    "learns": (True, False),
}


@on_all_channels
@in_both_types
def test_a_round_of_a_separable_convolution_and_its_gradients(channels: int, dtype: torch.dtype) -> None:
    for case in draws(24, seed=channels, **SEPARABLE):
        inputs = images(case["batch"], channels, *case["size"], dtype=dtype)
        weights = (
            torch.randn(channels, 1, *case["kernel"], dtype=dtype),
            torch.randn(channels, channels, 1, 1, dtype=dtype),
        )
        # A norm of one number has nothing to keep but rounding.
        follows = case["follows_a_norm"] and inputs[:, 0].numel() > 1
        norm = norm_of(inputs, affine=case["adds"]) if follows else None
        how = {"norm": norm, "stride": case["stride"], "dilation": case["dilation"]}
        found, found_norm = calls.separable_forward(inputs, weights, **how, eps=EPS)
        before = normed(inputs, norm).requires_grad_()
        plain_weights = [weight.double().requires_grad_() for weight in weights]
        expected = plain_separable(before.relu(), *plain_weights, case["stride"], case["dilation"])
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert_close(found, expected.detach(), dtype=dtype)
        assert_norm(found_norm, found, dtype=dtype)

        g, coefficients = images(*found.shape, dtype=dtype), torch.randn(3, channels).double()
        by_before, *by_weights = torch.autograd.grad(
            expected, (before, *plain_weights), combined(coefficients, g, found)
        )
        there = images(*inputs.shape, dtype=dtype)
        adds = case["adds"] and norm is None
        by_inputs = there.clone() if adds else torch.full_like(there, torch.nan)
        by_norm, found_by_weights = calls.separable_backward(
            inputs, weights, **how, gradient=(g, found, coefficients), by_inputs=by_inputs, adds=adds,
            learns=case["learns"],
        )  # fmt: skip
        assert_close(by_inputs, by_before + there.double() if adds else by_before, dtype=dtype)
        for found_by_weight, by_weight in zip(found_by_weights, by_weights, strict=True):
            assert (found_by_weight is None) != case["learns"]
            if found_by_weight is not None:
                assert_close(found_by_weight, by_weight, dtype=dtype)
        assert (by_norm is None) == (norm is None)
        if by_norm is not None:
            assert norm is not None
            through, gain_C, offset_C = (
                each.requires_grad_() for each in (inputs.double(), *norm[2:].clone())
            )
            after = F.batch_norm(through, None, None, gain_C, offset_C, training=True, eps=EPS)
            expected_by = torch.autograd.grad(after, (through, gain_C, offset_C), by_before)
            scale = by_before.abs() * per_channel(norm[1] * norm[2]).abs()
            assert_close(combined(by_norm[:3], by_inputs, inputs), expected_by[0], dtype=dtype, scale=scale)
            total = by_before.abs().sum()
            assert_close(by_norm[3], expected_by[1], dtype=dtype, scale=total)
            assert_close(by_norm[4], expected_by[2], dtype=dtype, scale=total)


DENSE: Mapping[str, Sequence[Any]] = {
    "batch": BATCHES,
    "size": SIZES,
    "channels_in": (1, 3, 5, 8, 16, 20),
    "kernel": ((1, 1), (3, 3), (5, 5), (1, 7), (7, 1)),
    "stride": (1, 2),
    "by_inputs": ("written", "added", "none"),
    "learns": (True, False),
}


@on_all_channels
@in_both_types
def test_a_dense_convolution_and_its_gradients(channels: int, dtype: torch.dtype) -> None:
    for case in draws(20, seed=channels, **DENSE):
        inputs = images(case["batch"], case["channels_in"], *case["size"], dtype=dtype)
        weight = torch.randn(channels, case["channels_in"], *case["kernel"], dtype=dtype)
        found, found_norm = calls.dense_forward(inputs, weight, stride=case["stride"], eps=EPS)
        plain, plain_weight = inputs.double().requires_grad_(), weight.double().requires_grad_()
        padding = [size // 2 for size in case["kernel"]]
        expected = F.conv2d(plain.relu(), plain_weight, stride=case["stride"], padding=padding)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert_close(found, expected.detach(), dtype=dtype)
        assert_norm(found_norm, found, dtype=dtype)

        g, coefficients = images(*found.shape, dtype=dtype), torch.randn(3, channels).double()
        by_plain, by_plain_weight = torch.autograd.grad(
            expected, (plain, plain_weight), combined(coefficients, g, found)
        )
        there = images(*inputs.shape, dtype=dtype)
        adds = case["by_inputs"] == "added"
        by_inputs = there.clone() if adds else torch.full_like(there, torch.nan)
        by_weight = calls.dense_backward(
            inputs, weight, stride=case["stride"], gradient=(g, found, coefficients),
            by_inputs=None if case["by_inputs"] == "none" else by_inputs, adds=adds, learns=case["learns"],
        )  # fmt: skip
        if case["by_inputs"] != "none":
            assert_close(by_inputs, by_plain + there.double() if adds else by_plain, dtype=dtype)
        assert (by_weight is None) != case["learns"]
        if by_weight is not None:
            assert_close(by_weight, by_plain_weight, dtype=dtype)


def test_the_weights_of_a_dense_convolution_may_lie_in_memory_in_any_order() -> None:
    torch.manual_seed(0)
    inputs, weight = images(2, 3, 4, 4), images(5, 3, 3, 3)
    found, _ = calls.dense_forward(inputs, weight, stride=1, eps=EPS)
    expected, _ = calls.dense_forward(inputs, weight.contiguous(), stride=1, eps=EPS)
    assert torch.equal(found, expected)


def plain_pool(given: Tensor, *, kernel: int, stride: int, largest: bool) -> Tensor:
    if largest:
        return F.max_pool2d(given, kernel, stride, padding=kernel // 2)
    return F.avg_pool2d(given, kernel, stride, padding=kernel // 2, count_include_pad=False)


@on_all_channels
@in_both_types
def test_a_pooling_and_its_gradient(channels: int, dtype: torch.dtype) -> None:
    options = {"batch": BATCHES, "size": SIZES, "kernel": (3, 5), "stride": (1, 2), "largest": (True, False)}
    for case in draws(16, seed=channels, **options):
        how = {name: case[name] for name in ("kernel", "stride", "largest")}
        inputs = images(case["batch"], channels, *case["size"], dtype=dtype)
        found, found_norm = calls.pool_forward(inputs, **how, eps=EPS)
        plain = inputs.double().requires_grad_()
        expected = plain_pool(plain, **how)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert_close(found, expected.detach(), dtype=dtype)
        assert_norm(found_norm, found, dtype=dtype)
        gradient = images(*found.shape, dtype=dtype)
        (by_plain,) = torch.autograd.grad(expected, plain, gradient.double())
        assert_close(calls.pool_backward(inputs, gradient, **how), by_plain, dtype=dtype)


@pytest.mark.parametrize("stride", [1, 2])
def test_among_equal_pixels_the_first_is_the_largest(stride: int) -> None:
    torch.manual_seed(0)
    inputs = torch.randint(3, (2, 5, 7, 6)).double().contiguous(memory_format=torch.channels_last)
    plain = inputs.clone().requires_grad_()
    expected = plain_pool(plain, kernel=3, stride=stride, largest=True)
    gradient = images(*expected.shape)
    (by_plain,) = torch.autograd.grad(expected, plain, gradient)
    assert_close(
        calls.pool_backward(inputs, gradient, kernel=3, stride=stride, largest=True),
        by_plain,
        dtype=torch.float64,
    )


@on_all_channels
@in_both_types
def test_mixtures_and_the_sums_that_their_gradients_need(channels: int, dtype: torch.dtype) -> None:
    options = {"batch": BATCHES, "size": (*SIZES, (23, 29)), "num": range(10), "onto": (True, False)}
    for case in draws(12, seed=channels, **options):
        shape = case["batch"], channels, *case["size"]
        inputs = [images(*shape, dtype=dtype) for _ in range(1 + case["num"])]
        coefficients_KC = torch.randn(len(inputs), channels).double()
        constant_C = torch.randn(channels).double()
        expected = per_channel(constant_C) + sum(
            per_channel(values_C) * given.double()
            for values_C, given in zip(coefficients_KC, inputs, strict=True)
        )
        there = images(*shape, dtype=dtype) if case["onto"] else None
        if there is not None:
            expected = expected + there.double()
        found = calls.mix(inputs, coefficients_KC, constant_C, onto=there)
        assert (found is there) == case["onto"]
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert_close(found, expected, dtype=dtype)

        gradient = images(*shape, dtype=dtype)
        sums_BC, products_KBC = calls.products(gradient, inputs)
        size = case["size"][0] * case["size"][1]
        assert_close(sums_BC, gradient.double().sum(dim=(2, 3)), dtype=dtype, scale=torch.tensor(float(size)))
        expected_KBC = (torch.stack(inputs).double() * gradient.double()).sum(dim=(3, 4))
        assert_close(products_KBC, expected_KBC, dtype=dtype, scale=torch.tensor(float(size)))


@on_all_channels
@in_both_types
@pytest.mark.parametrize("mean", [0, 1000])
def test_moments_also_of_what_lies_far_from_zero(mean: float, channels: int, dtype: torch.dtype) -> None:
    for case in draws(12, seed=channels, batch=BATCHES, size=(*SIZES, (40, 50))):
        given = images(case["batch"], channels, *case["size"], dtype=dtype) + mean
        assert_norm(calls.moments(given, eps=EPS), given, dtype=dtype)


def every_call(given: Tensor) -> dict[str, Callable[[], Any]]:
    """All kernels, at work on images with 20 channels."""
    weights = torch.randn(20, 1, 5, 5, dtype=given.dtype), torch.randn(20, 20, 1, 1, dtype=given.dtype)
    weight = torch.randn(7, 20, 3, 3, dtype=given.dtype)
    norm, coefficients = norm_of(given), torch.randn(3, 20).double()
    inputs = [given + number for number in range(6)]
    coefficients_KC, constant_C = torch.randn(6, 20).double(), torch.randn(20).double()
    how = {"norm": norm, "stride": 1, "dilation": 2}

    def separable_gradients() -> Any:
        by_inputs = torch.zeros_like(given)
        return by_inputs, calls.separable_backward(
            given, weights, **how, gradient=(inputs[1], inputs[2], coefficients), by_inputs=by_inputs,
            adds=False, learns=True,
        )  # fmt: skip

    def dense_gradients() -> Any:
        by_inputs = torch.zeros_like(given)
        gradient = (inputs[0][:, :7], inputs[1][:, :7], coefficients[:, :7])
        dense = [calls.dense(part) for part in gradient[:2]]
        return by_inputs, calls.dense_backward(
            given, weight, stride=1, gradient=(dense[0], dense[1], gradient[2].contiguous()),
            by_inputs=by_inputs, adds=True, learns=True,
        )  # fmt: skip

    return {
        "separable": lambda: calls.separable_forward(given, weights, **how, eps=EPS),
        "separable gradients": separable_gradients,
        "dense": lambda: calls.dense_forward(given, weight, stride=2, eps=EPS),
        "dense gradients": dense_gradients,
        "pool": lambda: calls.pool_forward(given, kernel=3, stride=2, largest=False, eps=EPS),
        "pool gradient": lambda: calls.pool_backward(given, given, kernel=3, stride=1, largest=True),
        "mix": lambda: calls.mix(inputs, coefficients_KC, constant_C),
        "products": lambda: calls.products(given, inputs),
        "moments": lambda: calls.moments(given, eps=EPS),
    }


def flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [tensor for part in result for tensor in flat(part)]


@in_both_types
@pytest.mark.parametrize("batch", [1, 2, 35])
def test_the_bits_are_the_same_with_any_number_of_threads_and_every_time(
    batch: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    try:
        for name, call in every_call(images(batch, 20, 7, 9, dtype=dtype)).items():
            torch.set_num_threads(1)
            expected = flat(call())
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                for found, once in zip(flat(call()), expected, strict=True):
                    assert torch.equal(found, once), (name, threads)
    finally:
        torch.set_num_threads(before)


@in_both_types
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("channels", [1, 5, 8, 20])
def test_what_is_not_finite_is_not_hidden(channels: int, bad: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    given = images(2, channels, 5, 5, dtype=dtype)
    given[1, channels - 1, 2, 2] = bad
    weights = torch.rand(channels, 1, 3, 3, dtype=dtype), torch.rand(channels, channels, 1, 1, dtype=dtype)
    weight = torch.rand(3, channels, 3, 3, dtype=dtype)
    separable, separable_norm = calls.separable_forward(
        given, weights, norm=None, stride=1, dilation=1, eps=EPS
    )
    dense, dense_norm = calls.dense_forward(given, weight, stride=1, eps=EPS)
    # A ReLU makes zero of minus infinity, as torch's does.
    hidden = bad == -torch.inf
    for found, norm in ((separable, separable_norm), (dense, dense_norm)):
        assert bool(found[0].isfinite().all())
        assert bool(found[1, :, 1:4, 1:4].isfinite().all()) == hidden
        assert bool(norm.isfinite().all()) == hidden
    for largest in (True, False):
        pooled, norm = calls.pool_forward(given, kernel=3, stride=1, largest=largest, eps=EPS)
        torch.testing.assert_close(
            pooled, plain_pool(given, kernel=3, stride=1, largest=largest), equal_nan=True
        )
        assert bool(norm.isfinite().all()) == (largest and hidden)
    one_C = torch.ones(channels).double()
    assert not calls.mix([given], one_C[None], one_C)[1].isfinite().all()
    assert not calls.moments(given, eps=EPS).isfinite().all()
    assert not calls.products(given, [given])[1][0, 1].isfinite().all()


def test_what_the_kernels_cannot_read_is_not_for_them() -> None:
    assert calls.supported(images(1, 1, 1, 1))
    for given in (torch.zeros(1, 1), images(1, 1, 1, 1).half(), images(1, 1, 1, 1).to("meta")):
        assert not calls.supported(given)
    assert not calls.supported(torch.zeros(0, 1, 1, 1))
    assert not calls.supported(torch.zeros(1, 1, 0, 1))


def test_where_there_is_no_memory_to_work_in_a_call_says_so_and_the_next_one_works() -> None:
    torch.manual_seed(0)
    given, weights = images(1, 2, 3, 3), (torch.randn(2, 1, 3, 3).double(), torch.randn(2, 2, 1, 1).double())
    how = {"norm": None, "stride": 1, "eps": EPS}
    expected, _ = calls.separable_forward(given, weights, **how, dilation=1)
    with pytest.raises(MemoryError, match="no memory for separable_forward"):
        calls.separable_forward(given, weights, **how, dilation=10**8)
    found, _ = calls.separable_forward(given, weights, **how, dilation=1)
    assert torch.equal(found, expected)


def test_tensors_that_do_not_belong_together_are_refused() -> None:
    given, more = images(1, 2, 3, 3), images(1, 3, 3, 3)
    depthwise, pointwise = torch.zeros(2, 1, 3, 3).double(), torch.zeros(2, 2, 1, 1).double()
    how = {"norm": None, "stride": 1, "dilation": 1, "eps": EPS}
    coefficients_KC, constant_C = torch.zeros(2, 2).double(), torch.zeros(2).double()
    for call in (
        lambda: calls.separable_forward(more, (depthwise, pointwise), **how),
        lambda: calls.dense_forward(more, pointwise, stride=1, eps=EPS),
        lambda: calls.mix([given, more], coefficients_KC, constant_C),
        lambda: calls.mix([given, given], coefficients_KC, constant_C, onto=more),
        lambda: calls.products(given, [given, more]),
    ):
        with pytest.raises(
            ValueError, match=r"tensors of the shapes .*\(1, 3, 3, 3\).* do not belong together"
        ):
            call()
    for call in (
        lambda: calls.separable_forward(given, (depthwise.float(), pointwise), **how),
        lambda: calls.dense_forward(given.float(), pointwise, stride=1, eps=EPS),
        lambda: calls.mix([given, given.float()], coefficients_KC, constant_C),
        lambda: calls.mix([given, given], coefficients_KC.float(), constant_C),
        lambda: calls.mix([given.float(), given.float()], coefficients_KC, constant_C.float()),
    ):
        with pytest.raises(
            ValueError, match=r"kernels for torch.float\d\d on the CPU were given torch.float\d\d"
        ):
            call()
