"""The methods that learn the architecture weights of a search, by name. Knows no torch until one is asked for.

All see the same supernet, batches and discretisation. XNAS takes the settings that its theory knows; each baseline is
as its own paper has it, with the mean loss of a batch as one feedback. A new baseline is one file and one line here.
"""

from typing import TYPE_CHECKING

from xnas.io.registry import import_from
from xnas.io.text import choose

if TYPE_CHECKING:
    from xnas.optimizers.baseline import BaselineOptimizer

BASELINES = {
    "gd": "softmax.SoftmaxDescent",
    "momentum": "softmax.SoftmaxMomentum",
    "darts": "darts.Darts",
    "darts-2nd": "darts_second.DartsSecondOrder",
    "gaea": "gaea.Gaea",
    "snas": "snas.Snas",
    "gdas": "gdas.Gdas",
    "asap": "asap.Asap",
    "random": "random.RandomChoice",
}
"""Module and class of each baseline."""

METHODS = ("xnas", "paper", *BASELINES)
"""The values of `search.method`; `paper` is algorithm 1 as printed."""


def baseline(name: str) -> "type[BaselineOptimizer]":
    """Return the class of a baseline. Raises ValueError, with the nearest, for an unknown name."""
    found: type[BaselineOptimizer] = import_from(
        "xnas.optimizers", BASELINES[choose("method", name, BASELINES)]
    )
    return found
