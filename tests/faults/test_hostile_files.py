"""Files of strangers: a reader takes them or says in one line why not, soon and in little memory."""

import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import torch

from xnas import SearchTrainer
from xnas.config.loading import parse_config, read_config
from xnas.config.schema import SEARCH_SECTIONS
from xnas.data.images import Normalisation
from xnas.export.export import about_network
from xnas.export.load import exported_files, load
from xnas.report.page import write_report
from xnas.runs.checkpoint import MANIFEST, STATE, TENSORS, _manifest, read_checkpoint
from xnas.runs.folder import Job, RunFolder, RunRecord, read_architecture, read_result, read_run_config
from xnas.runs.history import read_history
from xnas.space.architecture import read_genotype
from xnas.space.darts.network import Network
from xnas.space.genotype import Genotype
from xnas.space.genotype_text import to_darts_text
from xnas.space.published import published_genotype
from xnas.train.build import network_spec
from xnas.train.checkpointing import CheckpointManager, ResumeKey
from xnas.train.trained_network import TrainedNetwork

from ..conftest import TINY
from ..golden import small
from ..helpers.exported_networks import reseal
from ..helpers.mutations import (
    Mutator,
    mutate_darts_text,
    mutate_json,
    mutate_json_lines,
    mutate_safetensors,
    mutate_toml,
)
from ..helpers.resource_limits import Outcome, watched
from ..helpers.run_builder import build_run
from ..helpers.sealed_runs import seal

pytestmark = pytest.mark.usefixtures("by_hand")

READS = {False: 500, True: 10_000}
REPORTS = {False: 3, True: 100}
"""How many, in short and at length."""
GOLDEN = Path(__file__).parents[1] / "golden" / "run-1"
BEGUN = "begun/checkpoints/search-0000000004"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Kind:
    """A file of a run folder, how it is damaged, and the readers that a stranger's one may meet."""

    file: str
    mutate: Mutator
    readers: tuple[Callable[[Path], object], ...]
    """Each takes the run folder."""


def read_record(run: Path) -> object:
    return RunRecord.read(run)


def go_on(run: Path) -> None:
    """A search goes on from the checkpoint, or begins to."""
    trainer = SearchTrainer(small.config(), small.images(), device=CPU)
    key = ResumeKey(config=small.config(), sections=SEARCH_SECTIONS, fingerprints=trainer.fingerprints())
    CheckpointManager(trainer, key=key, folder=RunFolder(run / "begun")).begin()


def go_on_resealed(run: Path) -> None:
    """As a stranger would have it, whose manifest fits what he has made."""
    files = {name: (run / BEGUN / name).read_bytes() for name in (TENSORS, STATE)}
    (run / BEGUN / MANIFEST).write_bytes(_manifest(files))
    go_on(run)


def read_export(run: Path) -> None:
    load(run / "exported")


def read_resealed(run: Path) -> None:
    """As a stranger would have it, whose sums fit what he has made."""
    reseal(run / "exported")
    read_export(run)


KINDS = {
    "genotype": Kind(
        "genotype.json",
        mutate_json,
        (
            lambda run: Genotype.from_json((run / "genotype.json").read_bytes()),
            lambda run: read_genotype(run / "genotype.json"),
            lambda run: RunFolder(run).genotype(),
            read_architecture,
        ),
    ),
    "genotype as DARTS text": Kind(
        "cells.py", mutate_darts_text, (lambda run: read_genotype(run / "cells.py"),)
    ),
    "config": Kind(
        "config.toml",
        mutate_toml,
        (lambda run: read_config(run / "config.toml"), read_run_config, read_record),
    ),
    "metrics": Kind(
        "metrics.jsonl", mutate_json_lines, (read_history, lambda run: RunFolder(run).drop_training())
    ),
    "result": Kind("result.json", mutate_json, (read_record,)),
    "timing": Kind(
        "timing.json",
        mutate_json,
        (read_record, lambda run: RunFolder(run).add_timing("search", seconds=1.0)),
    ),
    "environment": Kind("environment.json", mutate_json, (read_record,)),
    "job": Kind("job.json", mutate_json, (lambda run: RunFolder(run).job(),)),
    "manifest": Kind(
        f"{BEGUN}/manifest.json", mutate_json, (lambda run: read_checkpoint(run / BEGUN), go_on)
    ),
    "state": Kind(f"{BEGUN}/state.json", mutate_json, (go_on, go_on_resealed)),
    "tensors": Kind(f"{BEGUN}/tensors.safetensors", mutate_safetensors, (go_on, go_on_resealed)),
    "weights": Kind(
        "checkpoints/network.safetensors",
        mutate_safetensors,
        (lambda run: TrainedNetwork.read(RunFolder(run), device=CPU), load),
    ),
    "exported description": Kind("exported/config.json", mutate_json, (read_export, read_resealed)),
    "exported weights": Kind("exported/model.safetensors", mutate_safetensors, (read_export, read_resealed)),
}
"""A new kind of file takes one entry here, and the fixture `honest` must write one."""


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that every reader reads."""
    run = build_run(tmp_path_factory.mktemp("runs") / "honest", search_epochs=1, retrain_epochs=2)
    genotype = published_genotype("darts_v2")
    (run / "config.toml").write_text(parse_config(TINY, where="the tests").to_toml())
    (run / "cells.py").write_text(to_darts_text(genotype))
    seal(run)
    RunFolder(run).write_job(Job(command="run"))
    shutil.copytree(GOLDEN, run / "begun")
    shutil.rmtree((run / BEGUN).with_name("search-0000000006"))
    plan = network_spec(read_run_config(run).retrain, image_channels=3, num_classes=3)
    normalisation = Normalisation(mean_C=torch.full((3,), 0.5), std_C=torch.full((3,), 0.25))
    trained = TrainedNetwork(
        network=Network(genotype, plan),
        genotype=genotype,
        classes=("a", "b", "c"),
        normalisation=normalisation,
        image_shape=(3, 8, 8),
    )
    trained.write(RunFolder(run))
    about = about_network(trained, read_run_config(run), read_result(run), image_shape=(3, 8, 8))
    (run / "exported").mkdir()
    for name, content in exported_files(about, trained.network).items():
        (run / "exported" / name).write_bytes(content)
    return seal(run)


@pytest.fixture
def run(honest: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(honest, tmp_path / "run"))


@pytest.mark.parametrize("name", KINDS)
def test_an_undamaged_file_is_read(name: str, run: Path) -> None:
    for read in KINDS[name].readers:
        assert watched(lambda read=read: read(run)).refusal is None  # type: ignore[misc]


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_read_or_refused_in_one_line(
    name: str, run: Path, long_faults: bool, record_property: Callable[[str, object], None]
) -> None:
    kind, path = KINDS[name], run / KINDS[name].file
    content = path.read_bytes()
    outcomes: list[Outcome] = []
    for number in range(READS[long_faults] // len(KINDS)):
        chance = Random(zlib.crc32(f"{name} {number}".encode()))
        spoiled = kind.mutate(content, chance)
        path.write_bytes(spoiled)
        read = chance.choice(kind.readers)
        try:
            outcome = watched(lambda read=read: read(run), size=len(spoiled))  # type: ignore[misc]
        except BaseException:
            print(f"{name}, number {number}: {spoiled[:2000]!r}")
            raise
        assert outcome.refusal is None or "\n" not in outcome.refusal, number
        outcomes.append(outcome)
    record_property("figures", _figures(outcomes))
    assert any(outcome.refusal for outcome in outcomes)


def test_the_report_of_a_damaged_run_is_written_or_refused_in_one_line(
    honest: Path, tmp_path: Path, long_faults: bool, record_property: Callable[[str, object], None]
) -> None:
    files = (
        "config.toml",
        "metrics.jsonl",
        "result.json",
        "timing.json",
        "environment.json",
        "genotype.json",
    )
    kinds = [kind for kind in KINDS.values() if kind.file in files]
    written, number, outcomes = 0, 0, []
    while written < REPORTS[long_faults]:
        chance = Random(number)
        number += 1
        folder = Path(shutil.copytree(honest, tmp_path / "run"))
        kind = chance.choice(kinds)
        (folder / kind.file).write_bytes(kind.mutate((folder / kind.file).read_bytes(), chance))
        try:
            # Pictures take their time, also of a run that nobody has damaged.
            outcome = watched(lambda folder=folder: write_report(folder), most_seconds=20)  # type: ignore[misc]
        except BaseException:
            print(f"number {number - 1}, {kind.file}: {(folder / kind.file).read_bytes()[:2000]!r}")
            raise
        assert outcome.refusal is None or "\n" not in outcome.refusal, number
        assert outcome.refusal is None or "report" not in {path.stem for path in folder.iterdir()}
        written += outcome.refusal is None
        outcomes.append(outcome)
        shutil.rmtree(folder)
    record_property("figures", _figures(outcomes))


def _figures(outcomes: list[Outcome]) -> str:
    refused = sum(outcome.refusal is not None for outcome in outcomes)
    seconds = max(outcome.seconds for outcome in outcomes)
    num_bytes = max(outcome.num_bytes for outcome in outcomes)
    return f"{len(outcomes)} read or refused ({refused}); worst {seconds:.2f} s, {num_bytes / 1e6:.1f} MB"
