"""Every architecture optimizer by its name, so that a search can be told which to use.

All see the same supernet, batches and discretisation. XNAS takes the settings that its theory knows; each rival is as
its own paper has it, with the mean loss of a batch as one feedback.
"""

from collections.abc import Mapping

from xnas.io.text import choose
from xnas.optimizers.asap import Asap
from xnas.optimizers.baseline import BaselineOptimizer
from xnas.optimizers.darts import Darts
from xnas.optimizers.darts_second import DartsSecondOrder
from xnas.optimizers.gaea import Gaea
from xnas.optimizers.gdas import Gdas
from xnas.optimizers.momentum import SoftmaxMomentum
from xnas.optimizers.random import RandomChoice
from xnas.optimizers.snas import Snas
from xnas.optimizers.softmax import SoftmaxDescent

BASELINES: Mapping[str, type[BaselineOptimizer]] = {
    kind.name: kind
    for kind in (
        SoftmaxDescent,
        SoftmaxMomentum,
        Darts,
        DartsSecondOrder,
        Gaea,
        Snas,
        Gdas,
        Asap,
        RandomChoice,
    )
}


def baseline(name: str) -> type[BaselineOptimizer]:
    """The rival of that name. Raises ValueError, with the nearest, for an unknown one."""
    return BASELINES[choose("optimizer", name, BASELINES)]
