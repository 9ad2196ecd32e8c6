"""GDAS: one expert of every forecaster is drawn and computed; the gradient goes straight through the choice.

Xuanyi Dong, Yi Yang: Searching for A Robust Neural Architecture in Four GPU Hours, CVPR 2019, section 3.2: forward
the one-hot argmax of log softmax(alpha) + G, backward as if it had been the relaxed sample at tau. Only the drawn
expert is computed, so that dloss/du is zero for the others: they learn through the normalisation alone.

Published: Adam with learning rate 3e-4, betas 0.5 and 0.999, weight decay 1e-3; tau from 10 to 0.1 in a straight line
(by the epoch there, by the round here). alpha starts as in DARTS. The paper's best variant has a reduction cell made by
hand; here both are searched.

A mistake of public implementations is avoided: to keep the unchosen weights in the graph they add them, whose values
are zero, to the feature maps as numbers. That gives each a gradient that is the sum of the features' gradients, the
same for all and nothing that any expert has earned.
"""

import torch
from torch import Tensor

from xnas.optimizers.baseline import BaselineOptimizer, LearnerSpec
from xnas.optimizers.gumbel import GumbelLearner, adam_learner

HOT, COLD = 10.0, 0.1


class GdasLearner(GumbelLearner):
    """Chooses by the largest entry of a relaxed sample."""

    one_hot = True

    @property
    def weights_EK(self) -> Tensor:
        """One for the drawn expert, zero for the others."""
        return torch.zeros_like(self.sample_EK).scatter(-1, self.sample_EK.argmax(dim=-1, keepdim=True), 1.0)


class Gdas(BaselineOptimizer):
    """GDAS (Dong and Yang 2019): one expert of every forecaster is drawn, and it alone is computed."""

    name = "gdas"
    description = "GDAS, one expert drawn at a temperature from 10 to 0.1, Adam with betas 0.5 and 0.999"
    step_size = 3e-4
    weight_decay = 1e-3

    @staticmethod
    def build_learner(spec: LearnerSpec) -> GumbelLearner:
        """Return a learner that starts near uniform."""
        return adam_learner(GdasLearner, spec, hot=HOT, cold=COLD)
