"""The length of a search, in feedbacks, and the step size that is optimal for it (section 3.1).

N: experts of a forecaster; T: feedbacks each of them will have received at the end of the search
(the horizon); L: bound on the absolute value of a reward; eta: step size.
"""

import math
from typing import Literal, get_args

Feedback = Literal["sample", "replica", "batch"]
"""What counts as one feedback.

`sample`: the reward of one validation sample in one replica, the paper's own count.
`replica`: the reward of a batch's mean loss in one replica.
`batch`: the same, summed over the replicas.
"""


def feedbacks_per_round(feedback: Feedback, *, batch_size: int, num_replicas: int) -> int:
    """Feedbacks that one round brings to each expert: by how much t, which counts up to T, advances.

    Raises ValueError for an unknown kind of feedback or a size below 1.
    """
    for name, value in (("batch_size", batch_size), ("num_replicas", num_replicas)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    match feedback:
        case "sample":
            return batch_size * num_replicas
        case "replica":
            return num_replicas
        case "batch":
            return 1
        case _:
            raise ValueError(f"unknown feedback {feedback!r}; choose one of {', '.join(get_args(Feedback))}")


def optimal_step_size(num_experts: int, *, horizon: int, reward_bound: float = 1.0) -> float:
    """The minimiser of the regret bound without wipeout, eta* = sqrt(2 ln N / (T L^2)) (equation 4).

    A lone expert has nothing to learn: its step size is zero.
    Raises ValueError for fewer than one expert, a horizon below one feedback, or a bound that is not positive.
    """
    if num_experts < 1:
        raise ValueError(f"num_experts must be at least 1; got {num_experts}")
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 feedback; got {horizon}")
    check_positive("reward_bound", reward_bound)
    return math.sqrt(2 * math.log(num_experts) / horizon) / reward_bound


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless `value` is a positive, finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite; got {value}")
