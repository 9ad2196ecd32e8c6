"""Context of a run: device, images, run folder and settings, the same on every rank, and a report at its end."""

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from xnas.config.loading import parse_config
from xnas.config.schema import CONFIG, Config, DataConfig, images_are_gone
from xnas.data.check import quick_check
from xnas.data.images import DataSet
from xnas.data.names import DATA_SETS, SHIPPED
from xnas.io.errors import Interrupted, NonFinite, OutOfMemory, RankLost
from xnas.io.json import JsonObject
from xnas.io.safe_read import is_folder
from xnas.io.text import short_repr
from xnas.report.page import write_report
from xnas.report.terminal import open_display, quiet
from xnas.runs.callbacks import Callback
from xnas.runs.environment import environment
from xnas.runs.folder import GENOTYPE, RETRAIN, SEARCH, Job, RunFolder
from xnas.runs.location import RunLocation
from xnas.runs.lock import locked
from xnas.runs.signals import StopRequest, stop_on_signals
from xnas.space.architecture import Architecture, parse_architecture
from xnas.train.build import build_dataset, check_memory, resolve_stems
from xnas.train.device import LAST_BITS_DIFFER, busy_cores, pick_device, total_memory, use_threads
from xnas.train.distributed import process_group
from xnas.train.memory import is_out_of_memory, take_memory_early

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What is to be done, with which settings, where."""

    job: Job
    config: Config
    location: RunLocation
    fixed: tuple[str, ...]
    """The settings in which it must agree with a run that it continues."""
    study: Path | None = None
    """The folder of the comparison, bench or experiment that it is a part of."""
    study_progress: Callable[[], str] | None = None
    """Where that whole is, in words."""
    genotype: Architecture | None = None
    """What is retrained, where that does not come from a search of the run."""
    retrain_again: bool = False
    """Drop what the run has trained before."""

    def __post_init__(self) -> None:
        data = self.config.data
        if data.root is None and data.source in DATA_SETS and data.source != SHIPPED:
            # Wherever it is resumed, the files are where they were looked for at first.
            data = replace(data, root=Path("data"))  # which becomes absolute
            object.__setattr__(self, "config", replace(self.config, data=data))

    def existing(self) -> RunFolder | None:
        """The run that it continues, if it does. Raises ValueError, naming the differences, if that is another."""
        folder = self.location.existing()
        if folder is not None:
            with locked(folder.path):  # before anything is loaded: another process may be at work there
                self.check(folder)
        return folder

    def check(self, folder: RunFolder) -> None:
        """Raises ValueError, naming the differences, if a run is not the one that is asked for."""
        started = folder.job()
        more = {"controls": started.controls <= self.job.controls}
        for name in ("command", "network", *more):
            before, now = getattr(started, name), getattr(self.job, name)
            if before != now and not more.get(name, False):  # those can be added to
                raise ValueError(
                    f"{folder.path} was started with different settings: its {name} was {before!r}, is {now!r}; choose "
                    "another --name, or start over with --overwrite"
                )
        folder.check_same(self.config, sections=self.fixed)

    def searched(self, *files: str) -> Architecture | None:
        """Return on every rank what the run that is continued has found, if it has that and `files`."""

        def read() -> str | None:
            folder = self.existing()
            if folder is None or not all(map(folder.has, (GENOTYPE, *files))):
                return None
            return folder.genotype().to_json()

        text = process_group().from_main(read)
        return None if text is None else parse_architecture(text)


def request_from_main(read: Callable[[], RunRequest | None]) -> RunRequest | None:
    """Return on every rank the request that `read` returns on rank 0; what it raises there, every rank raises.

    Where the run folder is, rank 0 alone knows.
    """
    request: RunRequest | None = None

    def read_json() -> dict[str, Any] | None:
        nonlocal request
        if (request := read()) is None:
            return None
        return {
            "job": asdict(request.job),
            "config": request.config.to_toml(),
            "study": request.study and str(request.study),
            "genotype": request.genotype and request.genotype.to_json(),
            "retrain_again": request.retrain_again,
        }

    values = process_group().from_main(read_json)
    if process_group().is_main or values is None:
        return request
    return RunRequest(
        job=Job(**values["job"]),
        config=parse_config(values["config"], where="the settings of rank 0"),
        location=RunLocation(runs=Path(), name=None),
        fixed=(),
        study=values["study"] and Path(values["study"]),
        genotype=values["genotype"] and parse_architecture(values["genotype"]),
        retrain_again=values["retrain_again"],
    )


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What a run works with."""

    request: RunRequest
    data: DataSet
    device: torch.device
    callback: Callback

    @classmethod
    def open(
        cls, request: RunRequest, *, data: DataSet | None = None, callback: Callback | None = None
    ) -> "RunContext":
        """Find the device and load the images, unless they are given. Raises ValueError if either is not there.

        callback: is told of the progress; by default the terminal is.
        """
        config = request.config
        device = pick_device(config.device)
        process_group().check(config.distributed, device)
        use_threads(config.threads)
        take_memory_early()
        if (
            device.type == "cpu"
            and config.threads is None
            and process_group().size == 1
            and (busy := busy_cores()) > 0.5
        ):
            # Threads that wait for each other at every operation are slowed down many times by a stranger among them.
            log.info(
                f"other work keeps {busy:.1f} cores busy; --threads 1 may be much faster until it has ended"
            )
        if data is None:
            process_group().from_main(lambda: _check_images_of(request))
            if (side := config.data.image_size) is not None:
                _check_memory(request, (1, side, side), device)  # before hours of decoding
            data = open_data_on_all_ranks(config)
        _check_memory(request, data.image_shape, device)
        return cls(
            request=replace(request, config=resolve_stems(config, data.image_shape)),
            data=data,
            device=device,
            callback=callback or open_display(headed_by=request.study_progress),
        )

    @contextmanager
    def open_run(self) -> Iterator[tuple[RunFolder, StopRequest]]:
        """The run folder, created or continued by rank 0, which alone may use it.

        Within it no other process works there, a signal waits for the end of the step, and the report of what there
        is follows in any case.
        """
        group = process_group()
        with ExitStack() as stack:
            folder = RunFolder(group.from_main(lambda: str(self._claim(stack))))
            # Also while a report is written after a loss: launchers end all ranks by a signal then.
            with stop_on_signals() as stop_request:
                try:
                    yield folder, stop_request
                except (Interrupted, NonFinite, OutOfMemory, RankLost) as stop:
                    if group.is_main:
                        self._report_stop(folder, stop)
                    raise
            if group.is_main:
                self._report(folder)

    def _claim(self, stack: ExitStack) -> Path:
        """Create the folder, or note that it is continued; it is locked until `stack` is closed."""
        path = self.request.location.create()
        stack.enter_context(locked(path))
        folder = RunFolder(path)
        if folder.has(CONFIG):
            self.request.check(folder)
            self._come_back(folder)
        else:
            folder.write_job(self.request.job)
            if self.request.genotype is not None:
                folder.write_genotype(self.request.genotype)
            folder.describe(self.request.config, environment(self.device, processes=process_group().size))
        log.info(f"run folder: {path}")
        return path

    def _report_stop(self, folder: RunFolder, stop: Exception) -> None:
        try:
            self._report(folder)
        except (ValueError, RuntimeError, MemoryError) as error:
            if not (isinstance(error, ValueError) or is_out_of_memory(error)):
                raise
            log.warning(f"no report: {error or 'out of memory'}")
        if not isinstance(stop, NonFinite):
            resumed = self.request.study or folder.path
            log.info(f"resume with: xnas resume {shlex.quote(str(resumed))}")

    def _report(self, folder: RunFolder) -> None:
        log.info(f"report: {write_report(folder.path)}")

    def _come_back(self, folder: RunFolder) -> None:
        """Note what has changed around a resumed run."""
        before, now = folder.environment(), environment(self.device, processes=process_group().size)
        changed = _changes(before, now)
        if changed:
            log.warning(f"{'; '.join(changed)}: {LAST_BITS_DIFFER}")
            now["kernels"] = before.get("kernels")  # until it is known
            earlier = before.pop("earlier", None)
            now["earlier"] = [*(earlier if isinstance(earlier, list) else []), before]
            folder.describe(self.request.config, now)
        if folder.config() != self.request.config:
            folder.describe(self.request.config, folder.environment())
        if folder.job() != self.request.job:
            folder.write_job(self.request.job)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two environments, of what the last bits of a result depend on."""
    pairs = [
        (name, before.get(name), now[name])
        for name in ("device_name", "instructions", "threads", "processes")
    ]
    versions = before.get("versions")
    if isinstance(versions, dict):
        pairs += [(name, versions.get(name), now["versions"][name]) for name in ("torch", "xnas")]
    return [
        f"{name} was {short_repr(old)}, is {short_repr(new)}"
        for name, old, new in pairs
        if None not in (old, new) and old != new
    ]


def relocate_images(folder: RunFolder, config: Config, *, source: str) -> Config:
    """The settings of a run whose folder of images is now at `source`; the run and its controls say so from now on.

    Raises ValueError, before anything is written, if other images than the run's are there, or it is of a named set.
    """
    if {source, config.data.source} & {*DATA_SETS}:
        raise ValueError(
            "--data is for a run on a folder of images; say with --root where a named data set is"
        )
    config = replace(config, data=replace(config.data, source=source))
    with quiet():  # the run says it again
        fingerprint = build_dataset(config.data, seed=config.seed).fingerprint()
    with locked(folder.path):
        location = folder.path / "controls"
        there = location.iterdir() if is_folder(location, inside=folder.path) else ()
        controls = sorted(path.name for path in there if path.is_symlink() or not path.is_file())
        parts = [folder, *(folder.child("controls", name) for name in controls)]
        for part, phase in product(parts, (SEARCH, RETRAIN)):
            if (found := part.checkpoints(phase).newest()) is not None:
                fingerprints = JsonObject.of(found[1].values, where=str(found[0])).nested("fingerprints")
                if fingerprints.text("the images") != fingerprint:
                    raise ValueError(
                        f"{source} has other images than {found[0]} was started with; give the same"
                    )
        for part in parts:
            if part.has(CONFIG):
                part.describe(replace(part.config(), data=config.data), part.environment())
    return config


def _check_memory(request: RunRequest, image_shape: tuple[int, int, int], device: torch.device) -> None:
    """Raises ValueError for settings that take far more memory than all processes of the run can have."""
    phases = {"run": (SEARCH, RETRAIN)}.get(request.job.command, (request.job.command,))
    if (has := total_memory(device)) is not None:
        check_memory(request.config, image_shape, phases=phases, has=has * process_group().size)


def check_images(data: DataConfig, *, of: Path, remedy: str) -> None:
    """Raises ValueError, with the remedy, if a run's folder of images is not where it was."""
    if images_are_gone(data):
        raise ValueError(f"the folder of images of {of} is not there; it was {data.source}; {remedy}")


def _check_images_of(request: RunRequest) -> None:
    """Raises ValueError if the folder of images of a run that is continued is not where it was."""
    earlier = request.location.existing()
    if earlier is not None and request.study is None:
        again = f"xnas resume {shlex.quote(str(earlier.path))} --data FOLDER"
        check_images(request.config.data, of=earlier.path, remedy=f"say where it is now: {again}")


def open_data_on_all_ranks(config: Config) -> DataSet:
    """The images that the settings name. Raises ValueError if they cannot be had.

    Rank 0 opens them first: it may have to bring them to the disk, and tells what is wrong with them.
    """
    data: DataSet | None = None

    def first() -> None:
        nonlocal data
        data = open_data(config.data, seed=config.seed)

    process_group().from_main(first)
    return data or build_dataset(replace(config.data, download=False), seed=config.seed)


def open_data(config: DataConfig, *, seed: int) -> DataSet:
    """The images that the settings name. Raises ValueError if they cannot be had."""
    data = build_dataset(config, seed=seed)
    channels, height, width = data.image_shape
    kind = "test" if config.held_out == 0 else "held-out"
    log.info(
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} {kind} images of {data.num_classes} "
        f"classes, {height} x {width}, {channels} channel{'s' if channels > 1 else ''}"
    )
    for line in quick_check(data, check=check_command(config)):
        log.warning(line)
    return data


def check_command(config: DataConfig) -> str:
    """What lists everything that is wrong with the images."""
    words = ["xnas", "check", config.source]
    if config.root is not None:
        words += ["--root", str(config.root)]
    if config.fold is not None:
        words += ["--fold", str(config.fold)]
    return shlex.join(words)
