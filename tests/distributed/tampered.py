"""The command line, in which the experts of rank 1 learn from other rewards than all the others, once."""

import sys

from xnas.cli import main
from xnas.experts import state
from xnas.optimizers import xnas
from xnas.train.launch import launched

update_experts, count = state.update_experts, 0


def otherwise(before, rewards_FEK, *, rule):  # type: ignore[no-untyped-def]
    global count
    count += 1
    if count == 3:
        rewards_FEK = -rewards_FEK
    return update_experts(before, rewards_FEK, rule=rule)


if __name__ == "__main__":
    launch = launched()
    if launch is not None and launch.rank == 1:
        xnas.advance = otherwise
    sys.exit(main(sys.argv[1:]))
