"""Run folders of strangers: pipes are not waited for, links out of the folder are neither read nor written through."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xnas.cli import main
from xnas.config.loading import read_config
from xnas.config.schema import Config
from xnas.io.atomic import atomic_write, write_folder
from xnas.report.page import write_report
from xnas.report.results_table import result_table
from xnas.runs.folder import RunFolder, RunRecord, read_architecture, read_result, read_run_config
from xnas.runs.history import read_history
from xnas.runs.location import RunLocation
from xnas.space.architecture import read_genotype
from xnas.space.published import published_genotype
from xnas.train.trained_network import TrainedNetwork

from ..helpers.resource_limits import watched
from ..helpers.run_builder import build_run

pytestmark = pytest.mark.usefixtures("by_hand")

READERS: dict[str, tuple[Callable[[Path], object], ...]] = {
    "config.toml": (read_run_config, RunRecord.read),
    "environment.json": (RunRecord.read,),
    "timing.json": (RunRecord.read, lambda run: RunFolder(run).add_timing("search", seconds=1.0)),
    "metrics.jsonl": (
        read_history,
        lambda run: RunFolder(run).metrics.append({"kind": "test"}),
        lambda run: RunFolder(run).drop_training(),
    ),
    "genotype.json": (read_architecture, lambda run: RunFolder(run).genotype()),
    "result.json": (read_result, result_table, lambda run: RunFolder(run).drop_training()),
    "controls/xnas/result.json": (RunRecord.read,),
    "checkpoints/network.safetensors": (
        lambda run: RunFolder(run).weights(),
        lambda run: TrainedNetwork.read(RunFolder(run), device=torch.device("cpu")),
        lambda run: RunFolder(run).drop_training(),
    ),
}
CASES = [(file, read) for file, readers in READERS.items() for read in readers]

WRITERS: dict[str, Callable[[Path], object]] = {
    "report.html": write_report,
    "pictures": write_report,
    "pictures/cell-normal.svg": write_report,
    "metrics.jsonl": lambda run: RunFolder(run).metrics.append({"kind": "test"}),
    "config.toml": lambda run: RunFolder(run).describe(Config(), {}),
    "genotype.json": lambda run: RunFolder(run).write_genotype(published_genotype("xnas")),
    "result.json": lambda run: RunFolder(run).write_result({"name": "found"}),
    "timing.json": lambda run: RunFolder(run).add_timing("search", seconds=1.0),
    "checkpoints": lambda run: RunFolder(run).write_weights({"a": torch.ones(1)}, about={}),
    "controls": lambda run: RunFolder(run).child("controls", "xnas").write_result({"name": "xnas"}),
    "controls/xnas": lambda run: RunFolder(run).child("controls", "xnas").write_result({"name": "xnas"}),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=1)
    RunFolder(run).write_weights({"a": torch.ones(1)}, about={})
    return run


def put_away(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("file", "read"), CASES)
def test_a_pipe_is_refused_and_not_waited_for(file: str, read: Callable[[Path], object], run: Path) -> None:
    (run / file).unlink()
    os.mkfifo(run / file)
    assert "is no regular file; take it away" in str(watched(lambda: read(run)).refusal)


@pytest.mark.parametrize(("file", "read"), CASES)
def test_a_folder_in_a_files_place_is_refused(file: str, read: Callable[[Path], object], run: Path) -> None:
    (run / file).unlink()
    (run / file).mkdir()
    assert "is no regular file; take it away" in str(watched(lambda: read(run)).refusal)


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "nothing/there", "loop"])
@pytest.mark.parametrize(("file", "read"), CASES)
def test_a_link_in_a_run_folder_is_not_read(
    file: str, read: Callable[[Path], object], target: str, run: Path, tmp_path: Path
) -> None:
    (run / file).unlink()
    (run / file).symlink_to({"nothing/there": tmp_path / "none", "loop": run / file}.get(target, target))
    refusal = str(watched(lambda: read(run)).refusal)
    assert f"{file} is a link" in refusal


@pytest.mark.parametrize("file", [file for file in READERS if "/" not in file])
def test_a_link_within_the_run_folder_is_not_followed_either(file: str, run: Path) -> None:
    (run / file).rename(run / "elsewhere")
    (run / file).symlink_to("elsewhere")
    with pytest.raises(ValueError, match=f"{file} is a link, and in .*/run none is followed; put there"):
        RunRecord.read(run)


def test_a_run_folder_may_be_reached_by_links(run: Path, tmp_path: Path) -> None:
    (tmp_path / "above").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(run)
    for path in (tmp_path / "link", tmp_path / "above" / "run", tmp_path / "above" / "link"):
        RunFolder(path).add_timing("search", seconds=1.0)
        RunFolder(path).child("controls", "xnas").write_result({"name": "xnas"})
        assert read_result(path) == read_result(run)


@pytest.mark.parametrize("place", WRITERS)
def test_nothing_is_written_through_a_link_in_a_run_folder(place: str, run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    is_file = "." in place
    (outside / "xnas").mkdir(parents=True)
    for name in ("precious", "result.json", "network.safetensors", "xnas/result.json", "cell-normal.svg"):
        (outside / name).write_text("precious")
    put_away(run / place)
    (run / place).parent.mkdir(parents=True, exist_ok=True)
    (run / place).symlink_to(outside / "precious" if is_file else outside)
    before = contents(outside)
    refusal = watched(lambda: WRITERS[place](run), most_seconds=20).refusal
    assert f"{place} is a link" in str(refusal)
    assert contents(outside) == before


def test_a_retraining_takes_nothing_out_of_a_folder_that_is_a_link(run: Path, tmp_path: Path) -> None:
    (run / "checkpoints").rename(tmp_path / "outside")
    (run / "checkpoints").symlink_to(tmp_path / "outside")
    assert "checkpoints is a link" in str(watched(lambda: RunFolder(run).drop_training()).refusal)
    assert (tmp_path / "outside" / "network.safetensors").is_file()


def test_a_run_that_is_a_link_is_not_overwritten(run: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(run)
    with pytest.raises(ValueError, match="mine is a link, so it is not overwritten; choose another --name"):
        RunLocation(runs=tmp_path / "runs", name="mine", overwrite=True).existing()
    assert (run / "config.toml").is_file()


def test_a_place_for_a_run_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ValueError, match="file is there and is not a run folder; choose another --name"):
        RunLocation(runs=tmp_path, name="file", overwrite=True).existing()
    for name, stem in (("x" * 300, "quick"), (None, "x" * 300)):
        place = RunLocation(runs=tmp_path, name=name, stem=stem)
        assert place.existing() is None
        with pytest.raises(ValueError, match=r"cannot make the run folder .*File name too long"):
            place.create()
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("command", ["show", "evaluate", "retrain"])
@pytest.mark.parametrize("file", ["config.toml", "genotype.json"])
def test_a_verb_ends_in_one_line_before_a_pipe(
    command: str, file: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / file).unlink()
    os.mkfifo(run / file)
    codes = []
    watched(lambda: codes.append(main([command, str(run)])), most_seconds=20)
    assert codes == [2]
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("read", "content"),
    [(read_genotype, published_genotype("xnas").to_json()), (read_config, "[search]\nepochs = 3\n")],
)
def test_a_file_that_a_person_names_may_be_a_link_but_no_pipe_and_no_device(
    read: Callable[[Path], object], content: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text(content)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read(tmp_path / "link") == read(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        assert "is no regular file" in str(watched(lambda place=place: read(place)).refusal)  # type: ignore[misc]
    assert watched(lambda: read_genotype(str(tmp_path / "pipe"))).refusal


@pytest.mark.parametrize(
    "put",
    [
        os.mkfifo,
        lambda path: path.write_text("precious"),
        lambda path: path.symlink_to(path.name),
        lambda path: path.symlink_to("nothing"),
    ],
)
def test_nothing_is_written_below_what_is_no_folder(put: Callable[[Path], None], tmp_path: Path) -> None:
    place = tmp_path / "place"
    put(place)
    writers: tuple[Callable[[], object], ...] = (
        lambda: atomic_write(place / "picture.svg", b""),
        lambda: atomic_write(place / "below" / "picture.svg", b""),
        lambda: write_folder(place / "exported", {}, check=lambda folder: None),
        lambda: RunLocation(runs=place, name="mine").create(),
        lambda: RunFolder.at(place),
    )
    for write in writers:
        refusal = str(watched(write).refusal)
        assert "place" in refusal
        assert any(
            why in refusal for why in ("is no folder;", "is a link that leads nowhere;", "Too many levels")
        )


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("outside"), Path.touch])
@pytest.mark.parametrize("left", [".exported.part", ".exported.discarded"])
def test_an_export_takes_away_no_more_than_what_an_export_has_left(
    put: Callable[[Path], None], left: str, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious")
    for name in ("exported", left):
        if name == left:
            put(tmp_path / name)
        refusal = watched(
            lambda: write_folder(tmp_path / "exported", {"a": b""}, check=lambda folder: None)
        ).refusal
    assert f"{left} is " in str(refusal)
    assert (tmp_path / "exported" / "a").is_file()
    assert (tmp_path / "outside" / "precious").is_file()
