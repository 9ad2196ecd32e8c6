"""SNAS: the mixture weights are relaxed samples of a distribution over the experts, which is learned.

Sirui Xie, Hehui Zheng, Chunxiao Liu, Liang Lin: SNAS: Stochastic Neural Architecture Search, ICLR 2019, section 2.2:
the concrete distribution and its gradient by alpha. The constraint on resources of section 2.4 is left out.

Published, by the paper and its authors' code: Adam with the settings of DARTS (3e-4, betas 0.5 and 0.999, weight decay
1e-3); alpha for all cells of a type, one sample a batch. The paper leaves open how the temperature is annealed; the
code has a start of 1 and an end of 0.03. That it goes there in a straight line is chosen here, and so is the start of
alpha, that of DARTS.

In one thing the harness differs from the paper: there weights and alpha learn from the same batch and the same
sample; here, as for all baselines, alpha learns from the validation half, with a sample of its own.
"""

from xnas.optimizers.baseline import BaselineOptimizer, LearnerSpec
from xnas.optimizers.gumbel import GumbelLearner, adam_learner

HOT, COLD = 1.0, 0.03


class Snas(BaselineOptimizer):
    """SNAS (Xie et al. 2019): mixture weights are relaxed samples, at a temperature that falls."""

    name = "snas"
    description = "SNAS, relaxed samples at a temperature from 1 to 0.03, Adam with betas 0.5 and 0.999"
    step_size = 3e-4
    weight_decay = 1e-3

    @staticmethod
    def build_learner(spec: LearnerSpec) -> GumbelLearner:
        """Return a learner that starts near uniform."""
        return adam_learner(GumbelLearner, spec, hot=HOT, cold=COLD)
