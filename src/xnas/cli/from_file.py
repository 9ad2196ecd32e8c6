"""What the verbs share whose settings are a file: where it is, where its folder goes, what is given instead."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.arguments import OnCluster
from xnas.config.schema import LAST_BITS, RETRAIN_SECTIONS, SEARCH_SECTIONS, Config

if TYPE_CHECKING:
    from xnas.train.context import RunRequest


@dataclass(frozen=True, kw_only=True)
class FromFile(OnCluster):
    """What to do, and where."""

    file: Annotated[Path, tyro.conf.Positional]
    """What is done: its seeds, cells and settings."""
    runs: Path = Path("runs")
    """Folder of the run folders."""
    name: str | None = None
    """Name of its folder; by default that of the file."""
    overwrite: bool = False
    """Replace a folder of that name."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps, or auto, instead of the file's."""
    threads: int | None = None
    """CPU threads of a task, instead of the file's; by default one for each core, on a cluster for each of --cpus."""
    root: Path | None = None
    """Where the files of a named data set are, instead of the file's."""

    def request(self, config: Config, *, verb: str) -> "RunRequest":
        """That `verb` be done with `config`, the file's settings, but for what is given instead.

        Raises ValueError for a value that a setting cannot have, or a name that no folder can.
        """
        from xnas.runs.folder import Job
        from xnas.runs.location import RunLocation, slugify
        from xnas.train.context import RunRequest
        from xnas.train.distributed import process_group

        for name in ("device", "threads"):
            if (value := getattr(self, name)) is not None:
                config = dataclasses.replace(config, **{name: value})
        if self.root is not None:
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=self.root))
        name = self.name or slugify(self.file.stem)
        place = RunLocation.named(
            name, runs=self.runs, stem="", overwrite=self.overwrite, restarts=process_group().restarts
        )
        fixed = (*SEARCH_SECTIONS, *RETRAIN_SECTIONS, *LAST_BITS)
        return RunRequest(job=Job(verb=verb), config=config, place=place, fixed=fixed)
