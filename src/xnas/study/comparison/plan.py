"""Many runs in one folder as values: what was asked for, what is there, and what is missing."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xnas.config.limits import MOST_RUNS
from xnas.io.safe_read import is_folder
from xnas.io.text import short_repr
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import RunRecord


@dataclass(frozen=True, kw_only=True)
class ComparisonSpec:
    """What was asked for: every method with every seed."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]

    @classmethod
    def read(cls, folder: Path, *, noun: str, verb: str) -> "ComparisonSpec":
        """That of the folder. Raises ValueError if it is not one that `xnas verb` has written, or is damaged."""
        job = RunFiles(folder).json_object("job.json")
        if job is None or "methods" not in job.values:
            raise ValueError(f"{folder} is not the folder of a {noun}; give one that xnas {verb} has written")
        plan = cls(methods=job.names("methods"), seeds=job.integers("seeds"))
        if len(set(plan.methods)) < len(plan.methods) or len(set(plan.seeds)) < len(plan.seeds):
            raise ValueError(f"{job.where}: 'methods' and 'seeds' must each differ")
        if len(plan.methods) * len(plan.seeds) > MOST_RUNS:
            raise ValueError(f"{job.where}: a {noun} has at most {MOST_RUNS:,} runs")
        return plan

    def members(self, folder: Path) -> Iterator[tuple[str, int, Path, RunRecord]]:
        """Optimizer, seed, place and record of every run that has begun, method by method.

        Raises ValueError, naming the file, if one is damaged or is another run.
        """
        for method in self.methods:
            for seed in self.seeds:
                path = folder / folder_name(method, seed)
                if is_folder(path, inside=folder):
                    record = RunRecord.read(path)
                    _check_member(record, method=method, seed=seed, path=path)
                    yield method, seed, path, record

    def missing(self, done: Collection[tuple[str, int]], failures: Mapping[str, str]) -> tuple[str, ...]:
        """The runs without a result, and why."""
        return tuple(
            f"{method}, seed {seed}: {failures.get(folder_name(method, seed), 'not done yet')}"
            for method in self.methods
            for seed in self.seeds
            if (method, seed) not in done
        )


def folder_name(method: str, seed: int) -> str:
    """Of a run, inside the folder of all."""
    return f"{method}-{seed}"


def _check_member(record: RunRecord, *, method: str, seed: int, path: Path) -> None:
    found = (record.setting("search", "method"), record.setting(None, "seed"))
    if record.config_text is not None and found != (method, seed):
        raise ValueError(
            f"{path} holds a run of method {short_repr(found[0])} with seed {short_repr(found[1])}; "
            "put it back where it was"
        )
