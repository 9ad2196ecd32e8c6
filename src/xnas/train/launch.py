"""The environment variables of launchers: torchrun, accelerate, or SLURM's srun. Imports nothing heavy."""

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

PORTS = 15_000
"""SLURM names no port; the number of the job chooses one of so many."""
INTERACTIVE_STEP = str(2**32 - 6)
"""The step in which salloc opens a shell (SLURM_INTERACTIVE_STEP of slurm.h)."""

_JOB_IDS = {"the launcher": ("TORCHELASTIC_RUN_ID",), "srun": ("SLURM_JOB_ID", "SLURM_STEP_ID")}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The rank of this process, and how many there are."""

    rank: int
    size: int
    """Ranks on all machines."""
    local_rank: int
    """Rank among those on this machine: the number of its device."""
    local_world_size: int = 1
    """Ranks on this machine among which its cores are divided; 1 where each was given cores of its own."""
    restarts: bool = False
    """Whether the launcher starts all ranks again when one has died."""
    attempt: int = 0
    """How often it has started them again: what earlier attempts left in the store does not count."""
    job: str = field(default="", compare=False)
    """The launcher's name of this start, so that the ranks of two starts do not meet at one port."""
    alone: str = field(default="", compare=False)
    """The remedy of who wants one process, in words."""


def launched(environment: MutableMapping[str, str] = os.environ) -> Launch | None:
    """Return how this process was launched among others; None if it is the only one.

    What is started in a shell that srun has opened (srun --pty bash, salloc) has srun's variables and is the only one.
    Adds the address of rank 0 under SLURM, and that torch's C++ parts print errors alone. Raises ValueError for
    variables that are missing or contradict each other.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        source, names = "the launcher", ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    elif "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        # Not SLURM_NTASKS, which a batch script has too, before srun.
        if _in_a_shell_of_srun(environment):
            return None
        source, names = "srun", ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    else:
        return None
    rank, size = (_number(environment, name) for name in names[:2])
    local_rank = _number(environment, names[2]) if names[2] in environment else 0
    if size == 1:
        return None
    if not 0 <= rank < size:
        raise ValueError(
            f"{names[0]} = {rank} is none of {names[1]} = {size} processes; look at {source}'s options"
        )
    if source == "srun":
        _meet_at_first_host(environment)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in environment:
            raise ValueError(
                f"{size} processes were launched, but {name} does not say where they meet; use torchrun, or set it; "
                f"to run alone: env -u {names[1]} xnas ..."
            )
    _port(environment)
    # Before torch is loaded: what its parts print of a lost connection is said in one line of our own.
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    return Launch(
        rank=rank,
        size=size,
        local_rank=local_rank,
        # srun binds each to cores of its own.
        local_world_size=max(1, _number({"LOCAL_WORLD_SIZE": "1", **environment}, "LOCAL_WORLD_SIZE")),
        restarts=environment.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0",
        attempt=_number({"TORCHELASTIC_RESTART_COUNT": "0", **environment}, "TORCHELASTIC_RESTART_COUNT"),
        # Where each node has a torchrun in a step of its own, SLURM's numbers are not those of all.
        job="/".join(environment.get(name, "") for name in _JOB_IDS[source]),
        alone=f"to run alone: env -u {names[1]} xnas ...",
    )


def rendezvous_address(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Return host and port at which the ranks meet, once `launched` has seen that they are given."""
    return environment["MASTER_ADDR"], _port(environment)


def agent_has_the_store(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether torchrun's agent serves the store where the ranks meet, so that rank 0 does not."""
    return environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _port(environment: Mapping[str, str]) -> int:
    port = _number(environment, "MASTER_PORT")
    if not 1 <= port <= 65_535:
        raise ValueError(f"MASTER_PORT must lie between 1 and 65535; got {port}")
    return port


def _in_a_shell_of_srun(environment: Mapping[str, str]) -> bool:
    """Return whether srun has started a shell on a terminal, and not this process."""
    if environment.get("SLURM_STEP_ID") == INTERACTIVE_STEP:  # salloc's own; srun in it starts another step
        return True
    own_task = environment.get("SLURM_TASK_PID", str(os.getpid())) == str(os.getpid())
    return "SLURM_PTY_PORT" in environment and not own_task


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not re.fullmatch(r"\d{1,7}", text):
        raise ValueError(f"{name} must be a whole number; got {text!r}")
    return int(text)


def _meet_at_first_host(environment: MutableMapping[str, str]) -> None:
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", "")
    job = re.sub(r"\D", "", environment.get("SLURM_JOB_ID", "")) or "0"
    if hosts:
        environment.setdefault("MASTER_ADDR", first_host(hosts))
    environment.setdefault("MASTER_PORT", str(20_000 + int(job) % PORTS))


def first_host(hosts: str) -> str:
    """Return the first of SLURM's list of hosts: node007 of node[007-010,12],other."""
    name, _, rest = hosts.partition("[")
    if "," in name or not rest:
        return name.partition(",")[0]
    first = re.split(r"[-,\]]", rest, maxsplit=1)[0]
    suffix = rest.partition("]")[2].partition(",")[0]
    return f"{name}{first}{suffix}"
