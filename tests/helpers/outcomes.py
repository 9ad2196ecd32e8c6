"""What a run leaves, as values that can be compared bit for bit with those of a run that nothing happened to."""

from pathlib import Path

from safetensors.torch import load

from xnas.runs.checkpoint import CheckpointStore, read_checkpoint

WHOLE = ("metrics.jsonl", "genotype.json", "result.json", "checkpoints/network.safetensors")
"""Files that are the same byte for byte, where a run has them."""


def outcome(run: Path) -> dict[str, bytes]:
    """Files and the last checkpoint's tensors (weights, momentum, experts, random states) by name.

    Safetensors are compared tensor by tensor, as the order of a file's header is not part of what it says.
    """
    found: dict[str, bytes] = {}
    for place in (run, *sorted((run / "controls").glob("*"))):
        for name in WHOLE:
            path = place / name
            if not path.is_file():
                continue
            if path.suffix == ".safetensors":
                for tensor, value in load(path.read_bytes()).items():
                    found[f"{path.relative_to(run)}: {tensor}"] = value.contiguous().numpy().tobytes()
            else:
                found[str(path.relative_to(run))] = path.read_bytes()
        for phase in ("search", "retrain"):
            for newest in CheckpointStore(place / "checkpoints", phase).found()[:1]:
                for tensor, value in read_checkpoint(newest).tensors.items():
                    found[f"{newest.relative_to(run)}: {tensor}"] = value.contiguous().numpy().tobytes()
    return found


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names of what is not the same in both."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
