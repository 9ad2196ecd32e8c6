"""Whatever happens to a checkpoint on the disk is noticed; the one before it is taken, or the run stops."""

import random
import shutil
import time
from pathlib import Path

import pytest

from xnas import DataSet
from xnas.cli import main
from xnas.runs.checkpoint import DAMAGED, MANIFEST, STATE, TENSORS, CheckpointStore, Damaged

from ..helpers.outcomes import differing, outcome
from ..helpers.sealed_runs import seal
from ..helpers.smallest_run import Record, interrupted, run_search, smallest

FILES = (TENSORS, STATE, MANIFEST)
KINDS = ("bit", "byte", "cut", "empty", "missing", "longer", "zeros", "swap", "older", "folder", "link")
NEWEST, OLDER = "search-0000000003", "search-0000000002"


@pytest.fixture(scope="module")
def broken_off(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with two checkpoints, one round before its end."""
    run = tmp_path_factory.mktemp("damage") / "run"
    interrupted(smallest(), data, run, after=3)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [OLDER, NEWEST]
    return run


@pytest.fixture(scope="module")
def undisturbed(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    run_search(smallest(), data, run)
    return outcome(run)


def damage(checkpoint: Path, *, seed: int) -> set[str]:
    """Do something bad to a checkpoint; returns the names of the files that a warning may speak of."""
    chance = random.Random(seed)
    kind, name = KINDS[seed % len(KINDS)], FILES[seed // len(KINDS) % len(FILES)]
    path = checkpoint / name
    content = bytearray(path.read_bytes())
    match kind:
        case "bit":
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        case "byte":
            content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
        case "cut":
            del content[chance.randrange(1, len(content)) :]
        case "empty":
            content.clear()
        case "longer":
            content += chance.randbytes(chance.randrange(1, 100))
        case "zeros":
            start = chance.randrange(len(content) // 2)
            content[start:] = bytes(len(content) - start)
    path.write_bytes(content)
    match kind:
        case "missing" | "folder" | "link":
            path.unlink()
            if kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(path.parent.parent / OLDER / name)
        case "swap":
            other = FILES[(FILES.index(name) + 1) % len(FILES)]
            content, theirs = path.read_bytes(), (checkpoint / other).read_bytes()
            path.write_bytes(theirs)
            (checkpoint / other).write_bytes(content)
            return {name, other}
        case "older":
            shutil.copyfile(checkpoint.parent / OLDER / name, path)
            return set(FILES) if name == MANIFEST else {name}
    return {name}


def test_every_damage_is_noticed_and_the_checkpoint_before_is_taken(
    said: list[str], broken_off: Path, tmp_path: Path, long_faults: bool, record_property: Record
) -> None:
    slowest, count = 0.0, 1000 if long_faults else 100
    for seed in range(count):
        home = tmp_path / str(seed)
        shutil.copytree(broken_off / "checkpoints", home)
        names = damage(home / NEWEST, seed=seed)
        bad = contents(home / NEWEST)
        said.clear()
        started = time.perf_counter()
        found = CheckpointStore(home, "search").newest()
        slowest = max(slowest, time.perf_counter() - started)
        assert found is not None
        assert found[0].name == OLDER, seed
        (warning,) = said
        assert any(f"{home / NEWEST / name} " in warning for name in names), (seed, warning)
        assert warning.endswith(f"; resuming from {OLDER} instead")
        assert contents(home / f"{DAMAGED}{NEWEST}") == bad
        assert contents(home / OLDER) == contents(broken_off / "checkpoints" / OLDER)
        assert not (home / NEWEST).exists()
        shutil.rmtree(home)
    record_property("figures", f"{count} damages, all noticed, at most {1000 * slowest:.1f} ms")
    assert slowest < 1


@pytest.mark.parametrize("seed", range(4, 30, 5))
def test_a_search_goes_on_from_the_checkpoint_before_to_the_same_result(
    seed: int, broken_off: Path, undisturbed: dict[str, bytes], data: DataSet, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(broken_off, run)
    damage(run / "checkpoints" / NEWEST, seed=seed)
    listener = run_search(smallest(), data, run)
    assert len(listener.warnings) == 1
    assert differing(outcome(run), undisturbed) == []
    assert {path.name for path in (run / "checkpoints").glob("*search-0000000003")} == {
        NEWEST,
        f"{DAMAGED}{NEWEST}",
    }


@pytest.mark.parametrize("seed", range(2))
def test_where_all_are_damaged_the_search_stops_and_changes_nothing(
    seed: int, broken_off: Path, data: DataSet, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(broken_off, run)
    for number, name in enumerate((NEWEST, OLDER)):
        damage(run / "checkpoints" / name, seed=seed + 3 * number)
    before = contents(run)
    for _ in range(2):
        with pytest.raises(
            Damaged,
            match=rf"no checkpoint of the search in .* can be used: .*{NEWEST}.*; .*{OLDER}.*; restore one from a copy",
        ):
            run_search(smallest(), data, run)
        assert contents(run) == before


def test_the_command_line_does_not_start_over_either(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    run = tmp_path / "runs" / "mine"
    (run / "genotype.json").unlink()  # as if its end had not come
    seal(run)
    for checkpoint in (run / "checkpoints").iterdir():
        (checkpoint / STATE).write_bytes(b"")
    before = contents(run)
    capsys.readouterr()
    for command in (words, ["resume", str(run)]):
        assert main(command) == 2
        assert "no checkpoint of the search in" in capsys.readouterr().err
        assert contents(run) == before


def contents(place: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(place)): path.read_bytes() if path.is_file() else None
        for path in place.rglob("*")
    }
