"""The demonstrations, in the order of the page."""

from collections.abc import Mapping

from xnas.theory.demonstration import Demonstration
from xnas.theory.initialisation import INITIALISATION
from xnas.theory.late_bloomers import LATE_BLOOMERS
from xnas.theory.regret_selection import REGRET_SELECTION
from xnas.theory.weight_decay import WEIGHT_DECAY
from xnas.theory.wipeout import WIPEOUT

DEMONSTRATIONS: Mapping[str, Demonstration] = {
    each.name: each for each in (LATE_BLOOMERS, INITIALISATION, REGRET_SELECTION, WEIGHT_DECAY, WIPEOUT)
}
