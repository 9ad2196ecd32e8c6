"""How many operations a task launches: what a GPU would be given to do, counted without one.

Counted are the operations that torch dispatches, but those that only look at memory in another way or reserve it; and
calls of this project's own kernels, which torch knows nothing of.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from torch.utils._python_dispatch import TorchDispatchMode

from xnas.kernels import calls

FREE = {
    "_unsafe_view",
    "empty",
    "empty_like",
    "empty_strided",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
}
"""Operations of torch's that launch nothing, besides views."""


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts within a `with`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Let the operation do its work, and count it."""
        del types
        free = func.is_view or func.namespace == "profiler" or func.overloadpacket.__name__ in FREE
        self.count += not free
        return func(*args, **(kwargs or {}))

    def own_kernels(self) -> AbstractContextManager[object]:
        """Within it, calls of our own kernels count too."""
        given = calls._library

        def counted(*args: Any) -> Any:
            self.count += 1
            return given(*args)

        return mock.patch.object(calls, "_library", counted)


def count_launches(task: Callable[[], object]) -> int:
    """Operations that a task launches. Its first time may launch more: it makes what later times find."""
    with Launches() as launches, launches.own_kernels():
        task()
    count: int = launches.count
    return count
