"""The health of a search in a few short lines, below the experts of the live panel."""

from rich.table import Table
from rich.text import Text

from xnas.optimizers.group_info import GroupInfo
from xnas.report.health import health_of, reward_size
from xnas.report.regret import check_regret
from xnas.runs.callbacks import PhaseInfo
from xnas.runs.history import GroupWeights, SearchEpoch

_HEAD = ("", "entropy", "skip", "pool", "decided", "lead", "regret/bound", "clipped", "|R|/L")
"""Short, so that a terminal of 80 columns has them all."""


def health_lines(epoch: SearchEpoch, phase: PhaseInfo) -> list[Table | Text]:
    """Return the health of a search at the end of an epoch: a line for each group, and the cost that is left."""
    lines = [_line(phase.groups[name], weights) for name, weights in epoch.groups.items()]
    parts: list[Table | Text] = []
    shown = [number for number in range(len(_HEAD)) if any(line[number] for line in lines)]
    if shown:
        table = Table(box=None, pad_edge=False)
        for number in shown:
            table.add_column(_HEAD[number], justify="right" if number else "left", no_wrap=True)
        for line in lines:
            table.add_row(*(Text(line[number]) for number in shown))
        parts.append(table)
    if phase.multiply_adds and epoch.multiply_adds is not None:
        parts.append(Text(f"multiply-adds still computed: {epoch.multiply_adds / phase.multiply_adds:.0%}"))
    return parts


def _line(group: GroupInfo, weights: GroupWeights) -> tuple[str, ...]:
    health = health_of(group, weights)
    promise = check_regret(weights.ledger) if weights.ledger else None
    size = reward_size(weights)
    return (
        group.name,
        "" if health is None else f"{health.entropy:.2f}",
        "" if health is None else f"{health.skip:.0%}",
        "" if health is None else f"{health.pooling:.0%}",
        "" if health is None or health.decided is None else f"{health.decided:.0%}",
        "" if health is None or health.lead is None else f"{health.lead:.0%}",
        "" if promise is None else f"{promise.regret:.3g} / {promise.bound:.3g}",
        "" if promise is None else f"{promise.clip_rate:.1%}",
        "" if size is None or not group.reward_bound else f"{size / group.reward_bound:.2g}",
    )
