"""Demonstrations small enough to be played in a blink, with all that the pictures and tables need."""

from xnas.theory.contenders import Contender
from xnas.theory.demonstration import Numbers
from xnas.theory.initialisation import Starts, play_initialisation
from xnas.theory.late_bloomers import Blooming, play_late_bloomers
from xnas.theory.regret_selection import NoisyGames, play_regret_selection
from xnas.theory.weight_decay import Decays, play_weight_decay
from xnas.theory.wipeout import WipeoutGames, play_wipeout

BLOOMING = Blooming(
    rounds=100,
    darts_rounds=100,
    delays_by_pay=((0.0, (0.0, 0.3, 0.5, 0.7, 0.8)), (-1.0, (0.0, 0.2, 0.36, 0.4))),
    zetas=(1.0, 0.1),
)
STARTS = Starts(rounds=60, v0s=(1e-6, 1e-3, 1.0))
NOISY = NoisyGames(rounds=60)
DECAYS = Decays(forecasters=3, rounds=300, ratios=(0.0, 0.1, 1.0, 10.0), bounds=(1.0, 3.0, 100.0))
WIPEOUT = WipeoutGames(rounds=100, zetas=(1.0, 0.25, 0.03))


def played(seeds: int = 2) -> dict[str, Numbers]:
    """The numbers of all demonstrations, by name."""
    return {
        "late-bloomers": play_late_bloomers(1, games=BLOOMING),
        "initialisation": play_initialisation(seeds, games=STARTS),
        "regret-vs-selection": play_regret_selection(seeds, games=NOISY),
        "weight-decay": play_weight_decay(seeds, games=DECAYS),
        "wipeout": play_wipeout(seeds, games=WIPEOUT),
    }


def only(name: str, *, multiples: tuple[float, ...] = (), rates: tuple[float, ...] = ()) -> list[Contender]:
    """One contender with these step sizes."""
    return [Contender(name=name, label=name, colour="#000000", marker="o", multiples=multiples, rates=rates)]  # type: ignore[arg-type]
