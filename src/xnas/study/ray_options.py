"""Which cluster does many tasks, and how much of it each of them takes.

This file imports nothing heavy, so that mistakes are answered at once.
"""

import math
import re
from dataclasses import dataclass

from xnas.config.limits import check_range, check_text

LOCAL, AUTO = "local", "auto"
MOST = 4096


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """A Ray cluster, and the resources of a task."""

    address: str
    """HOST:PORT of its head; auto: the one that this machine belongs to; local: one of this machine alone, which is
    made, and ends with the program."""
    cpus: float = 1.0
    """CPU cores of a task; below 1 several share one."""
    gpus: float = 0.0
    """GPUs of a task; below 1 several share one."""

    def __post_init__(self) -> None:
        check_text("--address", self.address)
        if self.address not in (LOCAL, AUTO) and not re.fullmatch(
            r"(\[[0-9a-fA-F:]+\]|[\w.\-]+):\d{1,5}", self.address
        ):
            raise ValueError(
                f"--address must be HOST:PORT of a Ray cluster's head, {AUTO} or {LOCAL}; got {self.address!r}"
            )
        if self.address not in (LOCAL, AUTO):
            check_range("the port of --address", int(self.address.rpartition(":")[2]), 1, 65_535)
        for name, value, least in (("cpus", self.cpus, 0.01), ("gpus", self.gpus, 0.0)):
            if not (math.isfinite(value) and least <= value <= MOST):
                raise ValueError(f"--{name} must lie between {least:g} and {MOST}; got {value:g}")
            if value > 1 and value != int(value):
                raise ValueError(f"--{name} above 1 must be a whole number; got {value:g}")

    @property
    def threads(self) -> int:
        """CPU threads of a task whose settings leave them open."""
        return max(1, int(self.cpus))

    def __str__(self) -> str:
        """Such as 1 CPU and 0.5 GPU."""
        said = f"{self.cpus:g} CPU{'s' * (self.cpus > 1)}"
        return said + (f" and {self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else "")

    @classmethod
    def given(cls, *, address: str | None, cpus: float | None, gpus: float | None) -> "RayOptions | None":
        """That of the command line. Raises ValueError for resources without a cluster to take them from."""
        resources = {name: value for name, value in (("cpus", cpus), ("gpus", gpus)) if value is not None}
        if address is None:
            if resources:
                raise ValueError(
                    f"--{next(iter(resources))} is of a task on a cluster; give --address too, or --threads instead"
                )
            return None
        return cls(address=address, **resources)
