"""Whatever changes in a finished file of a run or a study, every command that reads the file says so in one line."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from xnas.cli import main
from xnas.runs.finished_files import MANIFEST, RunFiles

from ..conftest import COLOURS, coloured
from ..helpers.smallest_run import SMALLEST, Record

TRIALS = {False: 60, True: 1000}
EXPERIMENT = """
[experiment]
search_seeds = [0, 1]
retrain_seeds = [0]
select = "best"
random_cells = 1
published_cells = []
[experiment.selection]
epochs = 1
"""
CONTROL = "controls/random-1/"
READ_BY = {
    "config.toml": ("evaluate", "export", "predict", "resume", "retrain", "transfer"),
    "job.json": ("resume", "retrain"),
    "environment.json": ("resume", "retrain"),
    "genotype.json": ("resume", "retrain", "transfer"),
    "metrics.jsonl": ("resume", "retrain"),
    "timing.json": ("resume", "retrain"),
    "result.json": ("resume", "retrain", "export"),
    "checkpoints/network.safetensors": ("evaluate", "export", "predict"),
    f"{CONTROL}result.json": ("resume", "retrain"),
    f"{CONTROL}config.toml": ("resume",),
    MANIFEST: ("evaluate", "export", "predict", "resume", "retrain", "transfer"),
}
"""Which commands read a file of a run; `show` reads all of them, reports and pictures too."""
STUDY = {
    "config.toml", "job.json", "study.toml", "selection.json", MANIFEST, "search-xnas-0/genotype.json",
    "search-xnas-1/genotype.json", "search-xnas-0/config.toml", "search-xnas-0/timing.json",
    "selected-xnas-seed-0/result.json", "selected-xnas-seed-0/config.toml", "selected-xnas-seed-0/genotype.json",
    "select-xnas-1/result.json", "random-1-seed-0/result.json", "random-1-seed-0/job.json",
    f"selected-xnas-seed-0/{MANIFEST}",
}  # fmt: skip
"""What `resume` reads of a study that has ended, among others; `show` reads all of it."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, long_faults: bool) -> Iterator[Path]:
    """A folder with images, runs/mine and runs/study."""
    from ..helpers.blank_pictures import draw_blank

    home = tmp_path_factory.mktemp("sums")
    for part, count in (("train", 20), ("test", 4)):
        for label, (name, colour) in enumerate(COLOURS.items()):
            (home / "images" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = coloured(colour, seed=1000 * label + i + 500 * (part == "test"), size=16)
                Image.fromarray(pixels).save(home / "images" / part / name / f"{i}.png")
    (home / "run.toml").write_text(SMALLEST)
    sources = f'[data]\nsource = "{home}/images"\n'
    (home / "study.toml").write_text(
        SMALLEST.replace("[data]\n", sources).replace("= 60", "= 30") + EXPERIMENT
    )
    where = ["--runs", f"{home}/runs", "--device", "cpu", "--threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        draw_blank(patch.setattr)
        run = ["run", "--config", f"{home}/run.toml", "--data", f"{home}/images", "--controls", "1"]
        assert main([*run, *where, "--name", "mine"]) == 0
        assert main(["experiment", f"{home}/study.toml", *where, "--name", "study"]) == 0
        yield home


def words(command: str, folder: Path, home: Path) -> list[str]:
    more = {
        "export": ["--format", "safetensors", "--to", f"{home}/exported", "--overwrite"],
        "predict": [f"{home}/images/test/red/0.png"],
        "transfer": [
            "--data",
            f"{home}/images",
            "--runs",
            f"{home}/others",
            "--device",
            "cpu",
            "--threads",
            "1",
        ],
    }
    return [command, str(folder), *more.get(command, [])]


def finished(folder: Path) -> list[str]:
    """Every file that a manifest of the folder names, and the manifests."""
    found = []
    for path in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
        if (path / MANIFEST).is_file() and not path.name.startswith(("search-00", "retrain-00")):
            names = [MANIFEST, *RunFiles(path).digests()]
            found += [str((path / name).relative_to(folder)) for name in names]
    return list(dict.fromkeys(found))


def one_bit(path: Path, chance: Random, others: list[Path]) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, chance: Random, others: list[Path]) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def lengthened(path: Path, chance: Random, others: list[Path]) -> None:
    path.write_bytes(path.read_bytes() + chance.choice([b"\n", b" ", b"\0", b"{}\n"]))


def swapped(path: Path, chance: Random, others: list[Path]) -> None:
    content = path.read_bytes()
    like = [other for other in others if other.name == path.name and other.read_bytes() != content] or [
        other for other in others if other.read_bytes() != content
    ]
    path.write_bytes(chance.choice(like).read_bytes())


def deleted(path: Path, chance: Random, others: list[Path]) -> None:
    path.unlink()


Damage = Callable[[Path, Random, list[Path]], None]
DAMAGES: tuple[Damage, ...] = (one_bit, one_bit, one_bit, one_bit, cut, lengthened, swapped, deleted)


@contextmanager
def damaged(path: Path, damage: Damage, chance: Random, others: list[Path]) -> Iterator[None]:
    content = path.read_bytes()
    damage(path, chance, others)
    try:
        yield
    finally:
        path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def readers(folder: Path, name: str) -> list[str]:
    others = ("resume",) if folder.name == "study" and name in STUDY else ()
    return ["show", *(READ_BY.get(name, ()) if folder.name == "mine" else others)]


def test_every_damage_to_a_finished_file_is_said_in_one_line_by_every_verb_that_reads_it(
    home: Path, long_faults: bool, capsys: pytest.CaptureFixture[str], record_property: Record
) -> None:
    folders = [home / "runs" / "mine", home / "runs" / "study"]
    files = [(folder, name) for folder in folders for name in finished(folder)]
    everything = [folder / name for folder, name in files]
    before = contents(home / "runs")
    wrong: list[str] = []
    for number in range(TRIALS[long_faults]):
        chance = Random(number)
        folder, name = chance.choice(files)
        command = chance.choice(readers(folder, name)[-1 - number % 2 :])
        damage = chance.choice(DAMAGES)
        drawn = name.startswith("pictures/") or Path(name).name == "report.html" or "/pictures/" in name
        with damaged(folder / name, damage, chance, everything):
            capsys.readouterr()
            try:
                code: object = main(words(command, folder, home))
            except BaseException as error:
                code = repr(error)
            said = capsys.readouterr().err
        mild = damage is deleted and (drawn or name in ("study.json", "study.csv"))
        expected = (0, 2) if mild else (2,)
        # A manifest that is missing, or another run's, is noticed by what it should name.
        where = folder / (name if Path(name).name != MANIFEST else Path(name).parent)
        if code not in expected or str(where) not in said or (not mild and said.count("\n") != 1):
            wrong.append(f"{number}: {damage.__name__} of {folder.name}/{name}, {command}: {code}, {said}")
        if (now := contents(home / "runs")) != before:
            changed = [path for path in {*now, *before} if now.get(path) != before.get(path)]
            wrong.append(f"{number}: {damage.__name__} of {folder.name}/{name}, {command} wrote {changed}")
            before = now
    record_property("figures", f"{TRIALS[long_faults]} damages to {len(files)} files, {len(wrong)} unnoticed")
    assert not wrong, "\n".join(wrong[:20])


def test_what_is_as_it_was_written_is_read_by_every_command(home: Path) -> None:
    for command in ("show", "evaluate", "export", "predict", "resume", "retrain"):
        assert main(words(command, home / "runs" / "mine", home)) == 0
    assert main(["resume", str(home / "runs" / "study")]) == 0


def test_one_bit_of_a_genotype_between_search_and_training_trains_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(home / "runs" / "study" / "search-xnas-0", tmp_path / "run"))
    genotype = run / "genotype.json"
    genotype.write_bytes(
        genotype.read_bytes().replace(b"skip_connect", b"max_pool_3x3", 1).replace(b"sep", b"sef", 1)
    )
    for command in ("resume", "retrain", "show"):
        assert main([command, str(run)]) == 2
        said = capsys.readouterr().err
        assert f"{genotype} has changed since it was written; restore it from a copy" in said
        assert "xnas retrain --genotype FILE" in said
    assert not (run / "result.json").exists()


def test_trainings_of_one_seed_that_have_changed_places_are_told_apart(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Path(shutil.copytree(home / "runs" / "study", tmp_path / "study"))
    (study / "selected-xnas-seed-0").rename(study / "aside")
    (study / "random-1-seed-0").rename(study / "selected-xnas-seed-0")
    (study / "aside").rename(study / "random-1-seed-0")
    assert main(["resume", str(study)]) == 2
    assert "holds the training of another architecture; put it back where it was" in capsys.readouterr().err
