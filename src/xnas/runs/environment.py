"""What a run ran on: versions, hardware, commit."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from xnas.kernels import build as kernels

PACKAGES = ("xnas", "torch", "torchvision", "numpy", "safetensors")


def environment(device: torch.device, *, processes: int = 1) -> dict[str, object]:
    """What a run ran on: versions, hardware, and the commit of the code if it is a checkout."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: metadata.version(name) for name in PACKAGES} | {"torch": torch.__version__},
        "commit": _commit(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "compiler": kernels.compiler_name() if device.type == "cpu" else None,
        "cores": os.cpu_count(),
        "command": [_program(), *sys.argv[1:]],
    }


def _program() -> str:
    name = Path(sys.argv[0]).name
    return "xnas" if name == "__main__.py" else name  # python -m xnas


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
