"""How the benchmarks are run."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """What holds for every benchmark of a run."""

    n: int | None = None
    """Repetitions; None: as many as each benchmark takes by itself."""
    small: bool = False
    """The smallest sizes, which show that a benchmark runs and nothing else."""
    bfloat16: bool = False
    """On a GPU: passes under autocast to bfloat16."""
    compile: bool = False
    """On a GPU: the supernet through torch.compile."""

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 1:
            raise ValueError(f"--n must be at least 1; got {self.n}")

    def repeats(self, usual: int) -> int:
        """Repetitions, of which a benchmark usually makes so many."""
        return self.n or usual

    @property
    def variant(self) -> str:
        """What a result on a GPU is called after, besides its benchmark."""
        return "".join(f"-{name}" for name in ("bfloat16", "compile") if getattr(self, name))
