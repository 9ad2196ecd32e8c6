"""xnas theory: the paper's claims about behaviour, played out in seconds; and its step size for a search."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.args import parse
from xnas.config.limits import check_scale
from xnas.io.errors import CannotWrite
from xnas.io.text import choose

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from xnas.theory.demonstration import Demonstration, Numbers

ALL, STEP_SIZE = "all", "step-size"
NAMES = ("late-bloomers", "initialisation", "regret-vs-selection", "weight-decay", "wipeout")
"""The demonstrations; they need torch, and help does not."""
MOST_SEEDS = 1000
"""More would need gigabytes, and tell nothing more."""
_CHOICES = (*NAMES, ALL, STEP_SIZE)
_ABOUT_STEP_SIZE = (
    "The horizon T of a search, and the step size eta* that theory gives for it (equation 4). The paper's own search: "
    "25,000 validation samples (d), 50 epochs, N = 8 experts, L = 1. Its normal cells, of which r = 6 share their "
    "weights, have T = 7,500,000 and eta* = 7.5e-4; its reduction cells, r = 2, have T = 2,500,000 and eta* = 1.3e-3."
)
_LARGEST = 10**12
"""Largest count: eta vanishes in a longer search."""


@dataclass(frozen=True, kw_only=True)
class TheoryArguments:
    """The demonstrations to play."""

    name: Annotated[str, tyro.conf.Positional]
    """late-bloomers, initialisation, regret-vs-selection, weight-decay, wipeout, all of them, or step-size, which has a
    help of its own."""
    out: Path = Path("theory")
    """Folder for the pictures (.svg, .png) and the numbers (.json); `all` puts them on one page there, index.html."""
    seeds: int | None = None
    """How many seeds are played; by default 50 (initialisation), 200 (regret-vs-selection, wipeout) or 3 searches
    (weight-decay). Nothing is drawn by chance in late-bloomers."""

    def __post_init__(self) -> None:
        choose("demonstration", self.name, _CHOICES)
        if self.seeds is not None and not 1 <= self.seeds <= MOST_SEEDS:
            raise ValueError(f"seeds must be from 1 to {MOST_SEEDS:,}; got {self.seeds}")


@dataclass(frozen=True, kw_only=True)
class StepSizeArguments:
    """The search that the step size is for."""

    validation_samples: int
    """d: samples that reward the experts in every epoch."""
    epochs: int
    """Epochs of the search in which they do."""
    experts: int
    """N: experts of a forecaster."""
    replicas: int
    """r: cells that share the weights."""
    reward_bound: float = 1.0
    """L: rewards are clipped to [-L, L]."""
    step_size: float | None = None
    """Another eta, to compare its bound with that of eta*."""
    zeta: float = 1.0
    """Relaxation of the wipeout, in (0, 1]: how early could an expert go?"""

    def __post_init__(self) -> None:
        for name, least in (("validation_samples", 1), ("epochs", 1), ("experts", 2), ("replicas", 1)):
            value = getattr(self, name)
            if not least <= value <= _LARGEST:
                why = ", or there is nothing to choose" if name == "experts" else ""
                raise ValueError(f"{name} must be from {least} to {_LARGEST:g}{why}; got {value}")
        for name in ("reward_bound", "step_size"):
            value = getattr(self, name)
            if value is not None:
                check_scale(name, value)
        if not 0 < self.zeta <= 1:
            raise ValueError(f"zeta must lie in (0, 1]; got {self.zeta}")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if list(argv[:1]) == [STEP_SIZE]:
        return _step_size(argv[1:])
    description = "Play out what the paper claims about behaviour, as pictures and numbers."
    arguments = parse(TheoryArguments, argv, command="theory", description=description)
    if arguments.name == STEP_SIZE:
        raise ValueError("theory: give step-size first, then its flags: xnas theory step-size --help")
    _have_folder(arguments.out)
    from xnas.theory.demonstrations import DEMONSTRATIONS as PLAYED
    from xnas.theory.page import write_page
    from xnas.train.device import use_threads

    use_threads(1)  # thousands of small steps: more threads would only wait for each other
    names = list(PLAYED) if arguments.name == ALL else [arguments.name]
    found = {name: (PLAYED[name], _show(PLAYED[name], arguments)) for name in names}
    if arguments.name == ALL:
        log.info(f"page: {write_page(arguments.out, found)}")
    return 0


def _show(demonstration: "Demonstration", arguments: TheoryArguments) -> "Numbers":
    """Play a demonstration, write its files, and say what it found."""
    from xnas.theory.demonstration import table_lines
    from xnas.theory.page import write_demonstration

    seeds = 1 if demonstration.seeds is None else arguments.seeds or demonstration.seeds
    chance = "nothing is drawn by chance" if demonstration.seeds is None else f"n = {seeds}"
    log.info(f"{demonstration.name}: {chance}")
    numbers = demonstration.play(seeds)
    paths = write_demonstration(arguments.out, demonstration, numbers)
    for line in ("", *table_lines(demonstration.table(numbers)), ""):
        log.info(line)
    log.info(f"written: {', '.join(map(str, paths))}")
    return numbers


def _have_folder(out: Path) -> None:
    """Make the folder before any work is done. Raises ValueError, or CannotWrite where the disk is what refuses."""
    from xnas.io.atomic import mkdir_fsync

    try:
        mkdir_fsync(out)
    except CannotWrite:
        raise
    except (FileExistsError, NotADirectoryError, ValueError) as error:
        raise ValueError(f"--out {out} is not a folder, or lies in a file; choose another place") from error
    except OSError as error:
        raise CannotWrite(f"cannot make {out}: {error.strerror or error}; choose another place") from error


def _step_size(argv: Sequence[str]) -> int:
    arguments = parse(
        StepSizeArguments,
        argv,
        command="theory step-size",
        description=_ABOUT_STEP_SIZE,
    )
    import math

    from xnas.experts.regret import regret_bound
    from xnas.experts.step_size import feedbacks_per_round, optimal_step_size

    samples = arguments.validation_samples
    horizon = arguments.epochs * feedbacks_per_round(
        "sample", batch_size=samples, num_replicas=arguments.replicas
    )
    best = optimal_step_size(arguments.experts, horizon=horizon, reward_bound=arguments.reward_bound)

    def bound(eta: float) -> float:
        return regret_bound(
            arguments.experts,
            step_size=eta,
            reward_bound=arguments.reward_bound,
            squared_feedbacks=horizon,
        )

    lines = [
        f"T = {horizon:,} feedbacks: {samples:,} samples x {arguments.epochs:,} epochs x "
        f"{arguments.replicas:,} replicas",
        f"eta* = {best:.3g}, for N = {arguments.experts:,} and L = {arguments.reward_bound:g}; "
        f"regret at most {bound(best):,.4g}, if an update follows every feedback",
    ]
    if arguments.step_size is not None:
        eta = arguments.step_size
        lines.append(
            f"eta = {eta:g}, {eta / best:.3g} times eta*; regret at most {bound(eta):,.4g}, "
            f"{bound(eta) / bound(best):.3g} times as much"
        )
    # After t feedbacks the largest lead is 2 L t; an expert goes when it is behind by more than 2 L (T - t) zeta.
    earliest = math.floor(horizon * arguments.zeta / (1 + arguments.zeta)) + 1
    lines.append(
        f"zeta = {arguments.zeta:g}: no expert can be wiped out before feedback {earliest:,}, "
        f"{earliest / horizon:.0%} of T"
    )
    print("\n".join(lines))
    return 0
