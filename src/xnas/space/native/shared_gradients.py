"""Gradients by tensors that several nodes of a cell read, added up in one place instead of node by node."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

Key = tuple[int, str]
"""Of a tensor that several nodes read: the source, and what was computed from it."""


class SharedGradients:
    """Gradients by tensors that several nodes of a cell read, added up in one place instead of node by node.

    Every node is read by all nodes after it, so that its backward pass comes after theirs. The first node that reads a
    tensor is therefore the last to add to its gradient, and hands it on; the others hand on none.
    """

    def __init__(self) -> None:
        self.gathered: dict[Key, Tensor] = {}
        self.num_nodes = 0
        self._readers: dict[Key, int] = {}

    def share(self, keys: Sequence[Key | None]) -> "Share":
        """The part of the next node, which reads tensors with these keys."""
        node, self.num_nodes = self.num_nodes, self.num_nodes + 1
        others = tuple(
            key if key is not None and self._readers.setdefault(key, node) != node else None for key in keys
        )
        return Share(self, node, tuple(keys), others)


@dataclass(frozen=True)
class Share:
    """What a node knows of the gradients that it adds to."""

    shared: SharedGradients
    node: int
    keys: tuple[Key | None, ...]
    others: tuple[Key | None, ...]
    """The keys of tensors that an earlier node reads too."""

    def begin(self) -> list[Tensor | None]:
        """The gradients that later nodes have left."""
        gathered = self.shared.gathered
        if self.node == self.shared.num_nodes - 1:
            gathered.clear()  # a new backward pass
        return [None if key is None else gathered.pop(key, None) for key in self.keys]

    def end(self, by_tensor: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Those to hand on; the others are left for earlier nodes."""
        for key, gradient in zip(self.others, by_tensor, strict=True):
            if key is not None and gradient is not None:
                self.shared.gathered[key] = gradient
        return [
            gradient if key is None else None for key, gradient in zip(self.others, by_tensor, strict=True)
        ]
