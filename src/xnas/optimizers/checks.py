"""Checks of losses and rewards, and contexts that restore what a measurement must not change.

B: samples; R: replicas; E: indices of a group; K: experts of each.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from xnas.space.forecaster import ForecasterGroup


def check_losses(losses_B: object) -> None:
    """Raises ValueError for losses without a sample axis, or that nothing can be learned from."""
    wanted = "the closure must return one loss for each sample, shape (B,), as reduction='none' gives; got"
    if not isinstance(losses_B, Tensor):
        raise ValueError(f"{wanted} a {type(losses_B).__name__}")
    if losses_B.dim() != 1:
        raise ValueError(f"{wanted} shape {tuple(losses_B.shape)}")
    if not losses_B.is_floating_point():
        raise ValueError(f"{wanted} {str(losses_B.dtype).removeprefix('torch.')}")
    if not len(losses_B):
        raise ValueError(f"{wanted} none")


def check_finite_losses(losses_B: Tensor) -> None:
    """Raises ValueError naming the first sample whose loss is not a finite number."""
    finite_B = losses_B.detach().isfinite()
    if not finite_B.all():
        sample = int((~finite_B).nonzero()[0])
        raise ValueError(
            f"the loss of sample {sample} is {losses_B[sample].item()}; nothing was learned from its batch; lower the "
            "learning rate, or look at the data"
        )


def check_finite_rewards(
    gradients_RBEK: Tensor, *, group: ForecasterGroup, names: tuple[str, ...], per_sample: bool
) -> None:
    """Raises ValueError naming the first expert, and sample if they are told apart, whose reward is not finite."""
    bad = ~gradients_RBEK.isfinite()
    if bad.any():
        sample, _, index, expert = bad.transpose(0, 1).nonzero()[0].tolist()
        value = -gradients_RBEK[:, sample, index, expert][bad[:, sample, index, expert]][0].item()
        whose = f" for sample {sample}" if per_sample else ""
        raise ValueError(
            f"the reward of expert {names[expert]!r} of forecaster {group.name!r}[{index}]{whose} is {value}; nothing "
            "was learned from its batch; lower the learning rate, or look at the data"
        )


def check_wrapper(model: nn.Module) -> None:
    """Raises ValueError for a DistributedDataParallel that cannot go on once an expert has left."""
    for module in model.modules():
        if isinstance(module, DistributedDataParallel) and (
            module.static_graph or not module.find_unused_parameters
        ):
            raise ValueError(
                "experts that leave take no more part in a pass: wrap the model as DistributedDataParallel(model, "
                "find_unused_parameters=True), without static_graph"
            )


@contextmanager
def counting_passes(model: nn.Module) -> Iterator[list[None]]:
    """Yield a list that gets an entry for every pass through all of `model`, whichever parts it reaches."""
    passes: list[None] = []

    def notice(module: nn.Module, inputs: object) -> None:
        del module, inputs
        if not torch.compiler.is_compiling():
            passes.append(None)

    roots = [model]
    for name in ("module", "_orig_mod"):
        if isinstance(inner := getattr(roots[-1], name, None), nn.Module):
            roots.append(inner)
    handles = [root.register_forward_pre_hook(notice) for root in roots]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def restore_norms_on_error(model: nn.Module | None) -> Iterator[None]:
    """Restore the running statistics of the model's norms after an error. None: do nothing."""
    norms = (
        [module for module in model.modules() if isinstance(module, _NormBase)] if model is not None else []
    )
    kept = [
        (buffer, buffer.clone())
        for norm in norms
        for buffer in norm.buffers(recurse=False)
        if not torch.nn.parameter.is_lazy(buffer)
    ]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
        raise


@contextmanager
def no_grad_for(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Turn gradients of the parameters off: a reward pass does not pay for them.

    Those of lazy modules, which this pass may be the first to make, get gradients, and lose them.
    """
    free = [parameter for parameter in parameters if parameter.requires_grad]
    lazy = [parameter for parameter in free if torch.nn.parameter.is_lazy(parameter)]
    if lazy:
        free = [parameter for parameter in free if not torch.nn.parameter.is_lazy(parameter)]
    for parameter in free:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)
        for parameter in lazy:
            if not torch.nn.parameter.is_lazy(parameter):
                parameter.grad = None
