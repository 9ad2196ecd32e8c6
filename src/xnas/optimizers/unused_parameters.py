"""Parameters that nothing in a model uses once experts have left it.

An expert may share parameters with experts that stay, in its forecaster or another, or with the model's body. What the
model's modules hold counts, and what they keep unregistered too: modules and parameters in their attributes, in lists,
tuples and dicts there, and in the closures of functions.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def unused_parameters(
    model: nn.Module, gone: Iterable[nn.Module], *, unregistered: bool = True
) -> list[nn.Parameter]:
    """The parameters of modules that have left `model` which nothing in it uses.

    `unregistered`: look at what modules keep beside their parameters and modules, too, which takes a while.
    """
    leaving = list(dict.fromkeys(parameter for module in gone for parameter in module.parameters()))
    if leaving:
        staying = {id(parameter) for parameter in model.parameters()}
        leaving = [parameter for parameter in leaving if id(parameter) not in staying]
    if leaving and unregistered:
        used = _parameters_within(model)
        leaving = [parameter for parameter in leaving if id(parameter) not in used]
    return leaving


def drop_parameters(optimizer: torch.optim.Optimizer | None, parameters: Iterable[nn.Parameter]) -> None:
    """Drop parameters, and what `optimizer` has stored about them; the others keep their order and their state."""
    gone = {id(parameter): parameter for parameter in parameters}
    if optimizer is None or not gone:
        return
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
    for parameter in gone.values():
        optimizer.state.pop(parameter, None)


def _parameters_within(model: nn.Module) -> set[int]:
    """The ids of all parameters that can be reached from a module through what it is made of."""
    found: set[int] = set()
    seen: set[int] = set()
    open_: list[object] = [model]
    while open_:
        value = open_.pop()
        if isinstance(value, nn.Parameter):
            found.add(id(value))
        elif id(value) not in seen:
            seen.add(id(value))
            open_.extend(_parts(value))
    return found


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, DistributedDataParallel):
        yield value.module  # its own lists hold whatever it was built with
    elif isinstance(value, nn.Module):
        yield from vars(value).values()
    elif isinstance(value, Mapping):
        yield from list(value.values())
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from value
    elif isinstance(value, FunctionType):
        yield from (cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell))
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
    elif isinstance(value, MethodType):
        yield value.__self__
    elif isinstance(value, partial):
        yield from (value.func, value.args, value.keywords)
    elif hasattr(value, "__dict__") and not isinstance(value, type | ModuleType):
        yield from vars(value).values()


def _is_filled(cell: object) -> bool:
    try:
        cell.cell_contents  # type: ignore[attr-defined]  # noqa: B018
    except ValueError:
        return False
    return True
