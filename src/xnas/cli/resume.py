"""xnas resume: resume a run or a study that was interrupted."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.args import OnCluster, parse, without_download
from xnas.config.schema import RETRAIN_SECTIONS, SEARCH_SECTIONS
from xnas.runs.folder import read_run_config
from xnas.train.launch import launched

if TYPE_CHECKING:
    from xnas.train.context import RunRequest


@dataclass(frozen=True, kw_only=True)
class ResumeArguments(OnCluster):
    """The run to resume."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    device: str | None = None
    """Another device than the run began on: the result is then not bit for bit that of a run that stayed."""
    threads: int | None = None
    """Another number of CPU threads, with the same reservation."""
    activation_checkpointing: tyro.conf.FlagCreatePairsOff[bool] = False
    """Resume with less memory, in more time: each cell is computed again in the backward pass. The result is the same,
    bit for bit."""
    root: Path | None = None
    """Where the files of a named data set are, if they have moved."""
    data: str | None = None
    """Where the folder of images is, if it has moved, or as seen from here. They must be the same images."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    description = (
        "Resume a run or a study that was interrupted, exactly from its last checkpoint, to its end."
    )
    arguments = parse(ResumeArguments, argv, command="resume", description=description)
    cluster = arguments.ray_options()
    read = _request(arguments) if launched() is None else None  # a mistake is told before torch is imported
    from xnas.runs.folder import STUDY
    from xnas.study.runner import join_tasks, resume_study
    from xnas.train.context import request_from_main
    from xnas.train.distributed import process_group
    from xnas.train.pipeline import run_request

    request = request_from_main(lambda: read or _request(arguments))
    assert request is not None
    if request.job.command == STUDY:
        return resume_study(request, cluster=cluster).exit_code if process_group().is_main else join_tasks()
    if cluster is not None:
        raise ValueError(f"--address is for studies, and {arguments.run} holds one run; leave it out")
    return run_request(lambda: request) or 0


def _request(arguments: ResumeArguments) -> "RunRequest":
    config = without_download(read_run_config(arguments.run))
    for name in ("device", "threads"):
        if (value := getattr(arguments, name)) is not None:
            config = dataclasses.replace(config, **{name: value})
    if arguments.activation_checkpointing:
        config = dataclasses.replace(config, activation_checkpointing=True)
    if arguments.root is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=arguments.root))
    from xnas.runs.folder import GENOTYPE, RETRAIN, STUDY, RunFolder
    from xnas.runs.location import RunLocation
    from xnas.train.context import RunRequest, relocate_images

    folder = RunFolder(arguments.run)
    if arguments.data is not None:
        if folder.job().command == STUDY:
            raise ValueError(
                f"--data is for a single run, and {arguments.run} is a study; put a link to the images where they were"
            )
        config = relocate_images(folder, config, source=arguments.data)
    job = folder.job()
    retrains = job.command == "retrain" or (
        job.command == "search" and folder.has(GENOTYPE) and folder.has_begun(RETRAIN)
    )
    return RunRequest(
        job=job,
        config=config,
        location=RunLocation.of(arguments.run),
        fixed=(*SEARCH_SECTIONS, *RETRAIN_SECTIONS),
        genotype=folder.genotype() if retrains else None,
    )
