"""Gradient descent with softmax: alpha = ln v is learned, u = softmax(alpha) (section 3.2.1, equations 5 and 6).

This is what XNAS is compared with: by the chain rule the gradient reaches an expert through its own weight,
dloss/dalpha_i = u_i (g_i - sum_l u_l g_l) with g = dloss/du, so that an expert whose weight is small can hardly rise.
Any optimizer of torch descends alpha: plain SGD, SGD with momentum, Adam.

E: forecasters of a group; K: experts of each; F: feedbacks of a round.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from xnas.optimizers.baseline import BaselineOptimizer, LearnerSpec
from xnas.optimizers.learner import Learner

Descent = Callable[[list[Tensor]], torch.optim.Optimizer]
"""Makes the optimizer of the parameters in a list."""


def softmax_gradient(gradients_EK: Tensor, mixture_EK: Tensor) -> Tensor:
    """dloss/dalpha from dloss/du at u = softmax(alpha): u (g - u . g), minus the reward of equation 6."""
    return mixture_EK * (gradients_EK - (mixture_EK * gradients_EK).sum(dim=-1, keepdim=True))


class SoftmaxLearner(Learner):
    """E softmaxes over K experts each, descended by one of torch's optimizers.

    Feedbacks at the same weights are summed. With `noise` alpha starts normal with that standard deviation, drawn from
    `generator`, else at zero.
    """

    def __init__(
        self,
        num_forecasters: int,
        num_experts: int,
        *,
        descent: Descent,
        noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        shape = (num_forecasters, num_experts)
        self.alpha_EK = torch.zeros(shape, dtype=torch.float64)
        if noise:
            self.alpha_EK += noise * torch.randn(shape, dtype=torch.float64, generator=generator)
        self.optimizer = descent([self.alpha_EK])
        self._num_feedbacks = 0
        # A step on nothing: whatever the optimizer keeps is there from the start, at zero, and a state has the same
        # names at any time.
        start_EK = self.alpha_EK.clone()
        self.alpha_EK.grad = torch.zeros_like(self.alpha_EK)
        self.optimizer.step()
        self.alpha_EK.copy_(start_EK)
        for moment in self._moments.values():
            moment.zero_()

    @property
    def log_v_EK(self) -> Tensor:
        """alpha"""
        return self.alpha_EK

    @property
    def alive_EK(self) -> Tensor:
        """Mask of the experts alive: all, since softmax descent removes none."""
        return torch.ones_like(self.alpha_EK, dtype=torch.bool)

    @property
    def num_feedbacks(self) -> int:
        """t"""
        return self._num_feedbacks

    def alpha_gradient(self, gradients_EK: Tensor) -> Tensor:
        """dloss/dalpha from dloss/du at the weights that were in use."""
        return softmax_gradient(gradients_EK, self.mixture_EK)

    def update(self, gradients_FEK: Tensor) -> None:
        """One step down the loss's gradient by alpha."""
        self.alpha_EK.grad = self.alpha_gradient(gradients_FEK.sum(dim=0))
        self.optimizer.step()
        self.alpha_EK.grad = None
        self._num_feedbacks += len(gradients_FEK)

    @property
    def _moments(self) -> dict[str, Tensor]:
        """The state that torch's optimizer keeps about alpha."""
        kept = self.optimizer.state[self.alpha_EK]
        return {name: value for name, value in kept.items() if isinstance(value, Tensor)}

    def state_dict(self) -> dict[str, Tensor]:
        """alpha, t, and what torch's optimizer keeps about alpha."""
        moments = {f"moment_{name}": value for name, value in self._moments.items()}
        return {"alpha_EK": self.alpha_EK, "num_feedbacks": torch.tensor(self._num_feedbacks), **moments}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state`."""
        self.alpha_EK.copy_(state["alpha_EK"])
        self._num_feedbacks = int(state["num_feedbacks"])
        for name, moment in self._moments.items():
            moment.copy_(state[f"moment_{name}"])


class SoftmaxDescent(BaselineOptimizer):
    """Plain gradient descent with softmax, the rule that section 3.2.1 compares XNAS with.

    The paper gives it no learning rate. The default of 1 is chosen here: alpha moves by the reward of equation 6.
    """

    name = "gd"
    description = "gradient descent with softmax"
    step_size = 1.0

    @staticmethod
    def build_learner(spec: LearnerSpec) -> SoftmaxLearner:
        """Return a learner that starts uniform."""
        return SoftmaxLearner(
            spec.num_forecasters,
            spec.num_experts,
            descent=lambda parameters: torch.optim.SGD(
                parameters, lr=spec.step_size, weight_decay=spec.weight_decay
            ),
        )


MOMENTUM = 0.9


class SoftmaxMomentum(BaselineOptimizer):
    """Gradient descent with softmax and momentum: alpha moves by a running sum of its gradients.

    XNAS has no place for momentum (section 3.2.2); this is what it does to a softmax. Nothing is published for it: 0.9
    is the usual momentum, and the learning rate of 0.1 is chosen here, because under a steady gradient alpha moves by
    rate / (1 - 0.9) a round, as fast as plain descent at its rate of 1.
    """

    name = "momentum"
    description = "gradient descent with softmax, momentum 0.9"
    step_size = 0.1

    @staticmethod
    def build_learner(spec: LearnerSpec) -> SoftmaxLearner:
        """Return a learner that starts uniform."""
        return SoftmaxLearner(
            spec.num_forecasters,
            spec.num_experts,
            descent=lambda parameters: torch.optim.SGD(
                parameters, lr=spec.step_size, momentum=MOMENTUM, weight_decay=spec.weight_decay
            ),
        )
