"""The settings of a group of forecasters in a search; free of torch, as run folders are read without it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupInfo:
    """A group of forecasters, and what its search is fixed by. As text: the line printed when a search starts."""

    name: str
    method: str
    """The rule that learns the weights."""
    edges: tuple[str, ...]
    """A label of each forecaster."""
    experts: tuple[str, ...]
    """Names, of which there are N."""
    replicas: int
    """r_c"""
    feedback: str
    """The source of one feedback."""
    horizon: int
    """T, in feedbacks; 0 where nothing is learned."""
    step_size: float
    """eta, or the learning rate of a baseline."""
    reward_bound: float | None = None
    """L; None: nothing is clipped."""
    scaled: bool = False
    """True if rewards, eta and L are in units of the size of each forecaster's rewards so far."""
    zeta: float | None = None
    """Relaxation of the wipeout; None: nobody is wiped out by it."""
    description: str = ""
    """The rest of the rule's settings, in words."""

    def __str__(self) -> str:
        said = [
            f"{self.name}: {len(self.edges)} forecasters, N = {len(self.experts)} experts",
            f"{self.replicas} replicas",
        ]
        if self.horizon > 0:
            said += [
                f"feedback per {self.feedback}",
                f"T = {self.horizon:,} feedbacks",
                f"eta = {self.step_size:.3g}",
            ]
        if self.reward_bound is not None:
            said.append("rewards in units of their size" if self.scaled else f"L = {self.reward_bound:g}")
        if self.method == "xnas":
            said.append("no wipeout" if self.zeta is None else f"zeta = {self.zeta:g}")
        else:
            said.append(self.description)
        return ", ".join(said)
