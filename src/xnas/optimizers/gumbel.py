"""Weights drawn by Gumbel noise, annealed: what SNAS and GDAS share.

Z = softmax((alpha + G) / tau) with G = -log(-log(U)), U uniform in (0, 1), is a relaxed sample of the categorical
distribution softmax(alpha): the smaller tau, the nearer to one-hot (Jang, Gu and Poole, ICLR 2017; Maddison, Mnih and
Teh, ICLR 2017). The largest Z is an exact sample whatever tau is. By the chain rule
dloss/dalpha = Z (dloss/dZ - Z . dloss/dZ) / tau.

All replicas share a sample. A new one is drawn for a pass of the network weights and for a measurement, from a
generator whose state is part of the learner's: a search that resumes has the sample that was in use.

E: forecasters of a group; K: experts of each; t: steps made, T: steps that the search will make.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas.optimizers.baseline import LearnerSpec
from xnas.optimizers.darts import NOISE, adam
from xnas.optimizers.learner import GENERATOR, SamplingLearner
from xnas.optimizers.softmax import Descent, SoftmaxLearner, softmax_gradient


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """A temperature that goes in a straight line from `start`, in the first round, to `end`, in the last."""

    start: float
    end: float
    rounds: int
    """T"""

    def at(self, t: int) -> float:
        """tau after t steps."""
        share = min(t / max(self.rounds - 1, 1), 1.0)
        return self.start + (self.end - self.start) * share


class GumbelLearner(SoftmaxLearner, SamplingLearner):
    """E categorical distributions over K experts, learned through relaxed samples of them."""

    def __init__(
        self,
        num_forecasters: int,
        num_experts: int,
        *,
        descent: Descent,
        annealing: Annealing,
        generator: torch.Generator,
        noise: float = 0.0,
    ) -> None:
        super().__init__(num_forecasters, num_experts, descent=descent, noise=noise, generator=generator)
        self.annealing, self.generator = annealing, generator
        self.sample_EK = torch.empty_like(self.alpha_EK)
        self.resample()

    @property
    def temperature(self) -> float:
        """tau of the round to come."""
        return self.annealing.at(self.num_feedbacks)

    @property
    def weights_EK(self) -> Tensor:
        """Z"""
        return self.sample_EK

    def resample(self) -> None:
        """Draw a new Z."""
        uniform_EK = torch.rand(self.alpha_EK.shape, dtype=torch.float64, generator=self.generator)
        # A uniform number is a multiple of 2^-53: zero would be infinitely far down, and comes once in 9e15.
        gumbel_EK = -(-uniform_EK.clamp_min(2.0**-54).log()).log()
        self.sample_EK = ((self.alpha_EK + gumbel_EK) / self.temperature).softmax(dim=-1)

    def alpha_gradient(self, gradients_EK: Tensor) -> Tensor:
        """dloss/dalpha through the relaxed sample, whose noise is taken as given."""
        return softmax_gradient(gradients_EK, self.sample_EK) / self.temperature

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of softmax descent, the sample in use, and the generator's state."""
        return {
            **super().state_dict(),
            "sample_EK": self.sample_EK,
            GENERATOR: self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state`."""
        super().load_state_dict(state)
        self.sample_EK = state["sample_EK"].to(self.sample_EK).clone()
        self.generator.set_state(state[GENERATOR].cpu())


def adam_learner(kind: type[GumbelLearner], spec: LearnerSpec, *, hot: float, cold: float) -> GumbelLearner:
    """A learner that starts near uniform and cools from `hot` to `cold`; Adam as in DARTS descends alpha."""
    return kind(
        spec.num_forecasters,
        spec.num_experts,
        descent=lambda parameters: adam(spec, parameters),
        annealing=Annealing(start=hot, end=cold, rounds=spec.rounds),
        noise=NOISE,
        generator=spec.generator,
    )
