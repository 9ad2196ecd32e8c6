"""DARTS, first order: alpha is descended by Adam on the validation loss, u = softmax(alpha).

Hanxiao Liu, Karen Simonyan, Yiming Yang: DARTS: Differentiable Architecture Search, ICLR 2019, equations 2 to 4 with
xi = 0: the network weights are taken as they are.

Published (appendix A.1.1): Adam with learning rate 3e-4, betas 0.5 and 0.999, weight decay 1e-3. The paper starts
alpha at zero; its authors' code, and this one, at 1e-3 times a standard normal, which breaks ties. Published too, but
settings of the whole search here: SGD for the network weights, batches of 64, halves of the training set.
"""

import torch

from xnas.optimizers.baseline import BaselineOptimizer, LearnerSpec
from xnas.optimizers.softmax import SoftmaxLearner

BETAS = (0.5, 0.999)
NOISE = 1e-3


def adam(spec: LearnerSpec, parameters: list[torch.Tensor]) -> torch.optim.Adam:
    """The Adam of DARTS, which SNAS, GDAS and others have taken over."""
    return torch.optim.Adam(
        parameters, lr=spec.step_size, betas=BETAS, weight_decay=spec.weight_decay, foreach=False
    )


class Darts(BaselineOptimizer):
    """First-order DARTS (Liu et al. 2019): softmax weights, learned by Adam from the validation loss."""

    name = "darts"
    description = "DARTS, first order, Adam with betas 0.5 and 0.999"
    step_size = 3e-4
    weight_decay = 1e-3

    @staticmethod
    def build_learner(spec: LearnerSpec) -> SoftmaxLearner:
        """Return a learner that starts near uniform."""
        return SoftmaxLearner(
            spec.num_forecasters,
            spec.num_experts,
            descent=lambda parameters: adam(spec, parameters),
            noise=NOISE,
            generator=spec.generator,
        )
