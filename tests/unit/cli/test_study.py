"""xnas compare, bench, experiment and sweep: one study each; nothing is done twice, and what fails is named.

Each command runs once; tests that change something work on copies, in which a few tasks are left to do.
"""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import xnas
from xnas import Config, RunFolder, StudySpec
from xnas.cli import main
from xnas.data.images import Images
from xnas.io.errors import Interrupted, NonFinite, OutOfMemory
from xnas.runs.folder import read_run_config
from xnas.runs.lock import locked
from xnas.space.architecture import Architecture, architecture_text, read_genotype
from xnas.study import runner
from xnas.study.results import read_study
from xnas.study.spec import read_spec
from xnas.train import pipeline, trained_network
from xnas.train.context import RunRequest
from xnas.train.retrain import RetrainTrainer

from ...conftest import save_images
from ...helpers.blank_pictures import draw_blank
from ...helpers.nasbench201_tables import make_rows, write_csv
from ...helpers.sealed_runs import seal
from ...helpers.signal_in_step import signal_in_step
from ...helpers.smallest_run import SMALLEST

BENCH = """
[data]
padding = 1
[space]
kind = "nasbench201"
nodes = 3
experts = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
channels = 2
cells = 3
stem = "strided"
[search]
epochs = 1
batch_size = 10
feedback = "batch"
[retrain]
cells = 3
batch_size = 60
"""
EXPERIMENT = """
[experiment]
search_seeds = [0, 1]
retrain_seeds = [0, 1]
random_cells = 1
[experiment.selection]
epochs = 1
batch_size = 54
"""
GRID = """
[sweep]
search_seeds = [0, 1]
[sweep.data.plain]
flip = false
[sweep.settings.gd]
search.momentum = 0.5
[sweep.settings.slow]
retrain.learning_rate = 0.001
"""
TASKS = {
    "compare": [
        "search-xnas-0", "search-random-0", "found-xnas-0-seed-0", "found-random-0-seed-0",
        "search-xnas-1", "search-random-1", "found-xnas-1-seed-1", "found-random-1-seed-1",
    ],
    "bench": ["search-xnas-0", "search-random-0", "search-xnas-1", "search-random-1"],
    "experiment": [
        "search-xnas-0", "search-xnas-1", "select-xnas-0", "select-xnas-1",
        "selected-xnas-seed-0", "random-1-seed-0", "selected-xnas-seed-1", "random-1-seed-1",
    ],
    "sweep": [
        name
        for seed in (0, 1)
        for name in (
            f"search-plain-gd-xnas-{seed}", f"search-plain-slow-xnas-{seed}",
            f"found-plain-gd-xnas-{seed}-seed-0", f"found-plain-slow-xnas-{seed}-seed-0",
        )
    ],
}  # fmt: skip
COMMANDS = tuple(TASKS)
SAID = {
    "compare": (
        "2 variants, each searched with 2 seeds (0, 1)",
        "the seed of its search",
        "has the highest mean",
    ),
    "bench": ("Searched on training images of .../images, one search for each", "looked up in table.csv"),
    "experiment": (
        "the one with the highest accuracy on that part was selected; the test images had no say in it",
        "Accuracy on 6 held-out training images",
        "selected cell (search seed",
    ),
    "sweep": (
        "2 variants, each searched with 2 seeds (0, 1)",
        "Every cell that was found counts; none is chosen.",
    ),
}


@dataclass
class Watch:
    """What is searched and trained, and which images are tested."""

    done: list[str]
    reads: list[tuple[int, str]]

    def start(self, patch: pytest.MonkeyPatch) -> None:
        search_it, train_it, test_it = pipeline.run_search, pipeline.run_retrain, trained_network.test_network

        def searched(request: RunRequest) -> int:
            self.done.append(str(request.location.name))
            return search_it(request)

        def trained(request: RunRequest, genotype: Architecture) -> int:
            self.done.append(str(request.location.name))
            return train_it(request, genotype)

        def tested(network: Any, images: Images, **options: Any) -> Any:
            assert images.names is not None
            self.reads.append((len(images), Path(images.names[images.place(0)]).parts[-3]))
            return test_it(network, images, **options)

        patch.setattr(pipeline, "run_search", searched)
        patch.setattr(pipeline, "run_retrain", trained)
        patch.setattr(trained_network, "test_network", tested)
        draw_blank(patch.setattr)


@dataclass(frozen=True)
class Home:
    """A folder with images, settings and a study of each command."""

    path: Path
    watched: dict[str, Watch]
    printed: dict[str, str]

    def words(self, command: str, *, runs: Path | None = None) -> list[str]:
        """The command; tests may add to it."""
        where = [
            "--runs",
            str(runs or self.path / "runs"),
            "--name",
            command,
            "--threads",
            "1",
            "--device",
            "cpu",
        ]
        settings = ["--config", str(self.path / f"{command}.toml"), "--data", str(self.path / "images")]
        return {
            "compare": ["compare", *settings, *where, "--methods", "xnas", "random", "--seeds", "0", "1"],
            "bench": [
                "bench", "nasbench201", "--table", str(self.path / "table.csv"), *settings, *where,
                "--methods", "xnas", "random", "--seeds", "0", "1",
            ],
        }.get(command, [command, str(self.path / f"{command}.toml"), *where])  # fmt: skip

    def folder(self, command: str) -> Path:
        return self.path / "runs" / command


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("studies")
    save_images(path / "images")
    source = f'[data]\nsource = "{path}/images"\n'
    (path / "compare.toml").write_text(SMALLEST)
    (path / "bench.toml").write_text(BENCH)
    (path / "experiment.toml").write_text(SMALLEST.replace("[data]\n", source) + EXPERIMENT)
    (path / "sweep.toml").write_text(SMALLEST.replace("[data]\n", source) + GRID)
    write_csv(path / "table.csv")
    made = Home(path, {}, {})
    for command in COMMANDS:
        made.watched[command] = Watch([], [])
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
            made.watched[command].start(patch)
            assert main(made.words(command)) == 0
        made.printed[command] = said.getvalue()
    return made


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch([], [])
    watch.start(monkeypatch)
    return watch


@pytest.fixture
def copy(home: Home, tmp_path: Path) -> Callable[..., Path]:
    """Copies a finished study, as if some of its tasks had not been done."""

    def copied(command: str, *, left: tuple[str, ...] = ()) -> Path:
        folder = Path(shutil.copytree(home.folder(command), tmp_path / "runs" / command))
        for pattern in left:
            for task in folder.glob(pattern):
                shutil.rmtree(task) if task.is_dir() else task.unlink()
        if "selection.json" in left:
            seal(folder)
        return folder

    return copied


def numbers(folder: Path) -> Any:
    """Those of study.json, without time and memory."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            skipped = ("search_seconds", "train_seconds", "peak_memory_bytes")
            return {key: plain(item) for key, item in value.items() if key not in skipped}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(json.loads((folder / "study.json").read_text()))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_task_is_done_once_and_all_of_them_count(
    command: str, home: Home, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home.folder(command)
    assert home.watched[command].done == TASKS[command]
    values = numbers(folder)
    assert values["missing"] == []
    for row in values["rows"]:
        networks = [
            each["test_accuracy"]
            for cell in values["cells"]
            for each in cell["networks"]
            if row["title"] in cell["title"] and not (row["title"] == "xnas" and "random" in cell["title"])
        ]
        assert row["n"] == 2 == len(networks)
        assert row["test_accuracy"] == pytest.approx(sum(networks) / 2)
        assert row["worst"] == min(networks)
    for cell in values["cells"]:
        for each in cell["networks"] if command != "bench" else ():
            run = RunFolder(folder / each["folder"])
            assert run.result()["test_accuracy"] == each["test_accuracy"]
            assert json.loads(run.genotype().to_json()) == cell["genotype"] or command == "sweep"
    with (folder / "study.csv").open() as table:
        assert [line["title"] for line in csv.DictReader(table)] == [row["title"] for row in values["rows"]]
    text, printed = (folder / "report.html").read_text(), home.printed[command]
    for said in SAID[command]:
        assert said in printed
        assert said in text
    assert f"report: {folder / 'report.html'}" in printed
    assert f"{len(TASKS[command])} of {len(TASKS[command])}: " in printed
    assert "left in all" in printed
    assert main(["resume", str(folder)]) == 0  # has ended: nothing is done again
    assert main(home.words(command)) == 0
    assert watch.done == []
    assert numbers(folder) == values
    del capsys


def test_the_test_images_are_read_once_for_each_network_and_cells_are_selected_without_them(
    home: Home,
) -> None:
    reads, folder = home.watched["experiment"].reads, home.folder("experiment")
    assert Counter(reads) == {(6, "train"): 2, (12, "test"): 4}
    assert reads[:2] == [(6, "train")] * 2  # before any test image
    values = numbers(folder)
    scores = [RunFolder(folder / f"select-xnas-{seed}").result()["test_accuracy"] for seed in (0, 1)]
    assert [candidate["accuracy"] for candidate in values["candidates"]] == scores
    chosen = values["cells"][0]["search_seed"]
    assert scores[chosen] == max(scores)
    assert (
        RunFolder(folder / "selected-xnas-seed-1").genotype()
        == RunFolder(folder / f"search-xnas-{chosen}").genotype()
    )
    assert "held-out accuracy" in home.printed["experiment"]
    assert "Held-out accuracy" in (folder / "select-xnas-0" / "report.html").read_text()


def test_every_cell_of_a_bench_is_looked_up_after_every_epoch(home: Home) -> None:
    folder = home.folder("bench")
    assert str(home.path) not in (folder / "study.json").read_text()
    assert not list(folder.glob("*/result.json"))  # nothing was retrained
    by_cell = {row[3]: row for row in make_rows()}
    searches = numbers(folder)["searches"]
    for search in searches:
        cell = architecture_text(read_genotype(folder / search["folder"] / "genotype.json"))
        found = search["none_barred"]
        assert found["cell"] == cell
        assert "none" not in cell
        assert (found["cifar10"], found["cifar100"], found["imagenet16_120"]) == by_cell[cell][:3]
        assert found["skips"] == cell.count("skip_connect")
        assert search["epochs"][-1]["none_barred"] == found
        assert search["epochs"][-1]["none_allowed"] == search["none_allowed"]
    xnas, drawn = searches[0]["epochs"], searches[2]["epochs"]
    assert [(row["epoch"], row["none_allowed"] is None) for row in xnas] == [(0, True), (1, False)]
    assert [(row["epoch"], row["none_allowed"] is None) for row in drawn] == [(0, False)]


def test_variants_differ_in_what_they_say(home: Home) -> None:
    folder = home.folder("sweep")
    for training, search in ((2, 0), (3, 1), (6, 4), (7, 5)):
        names = TASKS["sweep"][training], TASKS["sweep"][search]
        assert RunFolder(folder / names[0]).genotype() == RunFolder(folder / names[1]).genotype()
    assert RunFolder(folder / TASKS["sweep"][3]).config().retrain.learning_rate == 0.001
    texts = [
        (home.folder("compare") / f"search-{name}-0" / "config.toml").read_text()
        for name in ("xnas", "random")
    ]
    assert texts[0].replace('"xnas"', '"random"') == texts[1]


@pytest.mark.usefixtures("watch")
def test_a_study_that_signals_interrupt_everywhere_comes_to_the_same_numbers(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    watch: Watch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, folder = home.words("experiment", runs=tmp_path), tmp_path / "experiment"
    with monkeypatch.context() as patch:
        signal_in_step(2, patch=patch)  # in the first search
        assert main(words) == 128 + signal.SIGTERM
    assert f"xnas resume {folder}\n" in capsys.readouterr().out
    assert numbers(folder)["missing"] == ["8 searches and trainings not done yet"]
    for number in (1, 3, 4):  # in the first judging and in trainings
        with monkeypatch.context() as patch:
            signal_in_training(number, patch=patch)
            assert main(["resume", str(folder)]) == 128 + signal.SIGTERM
    assert main(words) == 0
    assert watch.reads == home.watched["experiment"].reads
    assert numbers(folder) == numbers(home.folder("experiment"))


def signal_in_training(number: int, *, patch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the `number`-th step of all trainings from now on."""
    steps = 0
    one_step = RetrainTrainer.training_step

    def step_with_a_signal(self: RetrainTrainer, *batches: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_step(self, *batches)

    patch.setattr(RetrainTrainer, "training_step", step_with_a_signal)


@pytest.mark.parametrize(
    ("command", "old", "new", "done"),
    [
        (
            "compare", "0 1", "0 1 2",
            ["search-xnas-2", "search-random-2", "found-xnas-2-seed-2", "found-random-2-seed-2"],
        ),
        ("bench", "xnas random", "xnas random gd", ["search-gd-0", "search-gd-1"]),
        (
            "experiment", "retrain_seeds = [0, 1]", 'retrain_seeds = [0, 1, 2]\npublished_cells = ["darts_v2"]',
            ["darts_v2-seed-0", "darts_v2-seed-1", "selected-xnas-seed-2", "random-1-seed-2", "darts_v2-seed-2"],
        ),
        (
            "sweep", "[sweep]", "[sweep]\nretrain_seeds = [0, 1]",
            [name.replace("-seed-0", "-seed-1") for name in TASKS["sweep"] if name.startswith("found")],
        ),
    ],
)  # fmt: skip
def test_a_study_may_grow_and_what_was_done_stays(
    command: str, old: str, new: str, done: list[str], home: Home, copy: Callable[..., Path], tmp_path: Path,
    watch: Watch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, words = copy(command), home.words(command, runs=tmp_path / "runs")
    before = numbers(folder)
    if command in ("compare", "bench"):
        more = " ".join(words).replace(old, new).split()
    else:
        (tmp_path / "more.toml").write_text((home.path / f"{command}.toml").read_text().replace(old, new))
        more = [str(tmp_path / "more.toml") if word.endswith(f"{command}.toml") else word for word in words]
    assert main(more) == 0
    assert watch.done == done
    after = numbers(folder)
    assert sum(row["n"] for row in after["rows"]) > sum(row["n"] for row in before["rows"])
    for cell in before["cells"]:
        kept = next(each for each in after["cells"] if each["name"] == cell["name"])
        assert kept["networks"][: len(cell["networks"])] == cell["networks"]
    capsys.readouterr()
    assert main(words) == 2
    assert f"{folder} was started with different settings: " in capsys.readouterr().err


def test_settings_cannot_change_and_a_study_needs_its_own(
    home: Home, copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, words = copy("compare"), home.words("compare", runs=tmp_path / "runs")
    for change, said in (
        (["--search.epochs", "1"], "search.epochs was 2, is 1"),
        (["--retrain.batch-size", "20"], "retrain.batch_size was 60, is 20"),
    ):
        assert main([*words, *change]) == 2
        assert said in capsys.readouterr().err
    with locked(folder):
        assert main(words) == 2
    assert "is in use by" in capsys.readouterr().err
    (folder / "study.toml").unlink()
    seal(folder)
    for command in (["resume", str(folder)], words):
        assert main(command) == 2
        assert "compare has no study.toml, so it cannot be continued" in capsys.readouterr().err


def fails(patch: pytest.MonkeyPatch, **errors: Exception) -> None:
    """Let searches, by name, raise errors."""
    search = pipeline.run_search

    def failing(request: RunRequest) -> int:
        if error := errors.get(str(request.location.name).replace("-", "_")):
            raise error
        return search(request)

    patch.setattr(pipeline, "run_search", failing)


def test_what_fails_is_named_with_what_needs_it_and_the_others_go_on(
    home: Home,
    copy: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    watch: Watch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copy("sweep", left=("*-gd-xnas-0*", "*-slow-xnas-1*"))
    with monkeypatch.context() as patch:
        nan, damaged = NonFinite("the loss is nan at step 1"), ValueError("the images are damaged")
        fails(patch, search_plain_gd_xnas_0=nan, search_plain_slow_xnas_1=damaged)
        assert main(home.words("sweep", runs=folder.parent)) == 2
    hindered = "not started, as it needs what has failed: search"
    assert numbers(folder)["missing"] == [
        "search, plain gd xnas, seed 0: the loss is nan at step 1",
        f"cell of plain gd xnas, search seed 0, seed 0: {hindered}, plain gd xnas, seed 0",
        "search, plain slow xnas, seed 1: the images are damaged",
        f"cell of plain slow xnas, search seed 1, seed 0: {hindered}, plain slow xnas, seed 1",
    ]
    assert [row["n"] for row in numbers(folder)["rows"]] == [1, 1]
    assert "search, plain gd xnas, seed 0 failed: the loss is nan" in capsys.readouterr().out
    assert watch.done == []
    fails(monkeypatch, search_plain_gd_xnas_0=OutOfMemory("full"))
    assert main(["resume", str(folder)]) == 3
    assert watch.done == ["search-plain-slow-xnas-1", "found-plain-slow-xnas-1-seed-0"]


UNSELECTED = ("search-xnas-0", "select-xnas-0", "selected-*", "selection.json")


def test_no_cell_is_selected_while_a_candidate_may_still_come_and_one_that_failed_for_good_is_left_out(
    copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    folder = copy("experiment", left=UNSELECTED)
    with monkeypatch.context() as patch:
        fails(patch, search_xnas_0=OutOfMemory("out of memory"))
        assert main(["resume", str(folder)]) == 3
    assert not (folder / "selection.json").exists()
    assert watch.done == []
    fails(monkeypatch, search_xnas_0=NonFinite("the loss is nan at step 1"))
    assert main(["resume", str(folder)]) == 2
    values = numbers(folder)
    assert values["cells"][0]["search_seed"] == 1
    assert values["missing"] == [
        "search, xnas, seed 0: the loss is nan at step 1",
        "judging the cell of xnas, search seed 0, on held-out images: not started, as it needs what has failed: "
        "search, xnas, seed 0",
    ]
    assert watch.done == ["selected-xnas-seed-0", "selected-xnas-seed-1"]


def test_ctrl_c_between_two_tasks_says_how_to_resume(
    copy: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    watch: Watch,
) -> None:
    del watch

    def interrupted(request: RunRequest, genotype: Architecture) -> int:
        raise KeyboardInterrupt

    folder = copy("experiment", left=("random-1-seed-1",))
    monkeypatch.setattr(pipeline, "run_retrain", interrupted)
    assert main(["resume", str(folder)]) == 130
    assert capsys.readouterr().out.endswith(f"xnas resume {folder}\n")


def test_a_training_of_another_cell_is_refused(
    copy: Callable[..., Path], capsys: pytest.CaptureFixture[str], watch: Watch
) -> None:
    folder = copy("experiment", left=("random-1-seed-0",))
    (folder / "selected-xnas-seed-0").rename(folder / "random-1-seed-0")
    assert main(["resume", str(folder)]) == 2
    assert (
        "random-1-seed-0 holds the training of another architecture; put it back" in capsys.readouterr().err
    )
    assert watch.done == []


def test_a_study_is_run_from_python_too(home: Home, tmp_path: Path, watch: Watch) -> None:
    folder = home.folder("compare")
    spec = StudySpec(methods=("xnas", "random"), search_seeds=(0, 1))
    assert read_spec(folder) == spec
    config = read_run_config(folder)
    assert [row.to_dict() for row in xnas.run_study(spec, config, folder).summaries] == [
        row.to_dict() for row in read_study(folder).summaries
    ]
    assert watch.done == []
    controls = StudySpec(methods=("random",), search_seeds=(0,), random_controls=1)
    results = xnas.run_study(controls, config, tmp_path / "mine")
    assert watch.done == ["search-random-0", "found-random-0-seed-0", "random-1-seed-0"]
    assert [(row.title, row.n) for row in results.summaries] == [("random", 1), ("random cell 1", 1)]
    assert (results.missing, results.exit_code) == ((), 0)
    with pytest.raises(ValueError, match=r"search\.step_size is of one method"):
        xnas.run_study(
            spec, replace(config, search=replace(config.search, step_size=0.1)), tmp_path / "other"
        )


def test_a_table_that_has_moved_or_must_be_trusted_is_asked_for_again(
    home: Home, copy: Callable[..., Path], tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, words = copy("bench"), home.words("bench", runs=tmp_path / "runs")
    spec, table = read_spec(folder), home.path / "table.csv"
    again = (
        f"give the command that started it again: xnas bench nasbench201 --table FILE --runs {folder.parent}"
    )
    # A stranger's folder may name any file: one that would be unpickled is not opened.
    for place, said in (
        (str(tmp_path / "moved.csv"), f"there is no table of NAS-Bench-201 at {tmp_path}/moved.csv"),
        (str(tmp_path / "NATS-tss-evil"), f"the table of {folder} must be given again: {again}"),
        ("", f"the table of {folder} must be given again: {again}"),
    ):
        (folder / "study.toml").write_text(replace(spec, table=place).to_toml())
        seal(folder)
        assert main(["resume", str(folder)]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert again in err
    (folder / "study.toml").write_text(spec.to_toml().replace(str(table), "a\\u001b[2J"))
    seal(folder)
    assert main(["resume", str(folder)]) == 2
    assert "table must be plain text of at most 1000 characters; got 'a\\x1b[2J'" in capsys.readouterr().err
    (folder / "study.toml").write_text(replace(spec, table=str(tmp_path / "moved.csv")).to_toml())
    seal(folder)
    assert main(words) == 0
    assert read_spec(folder).table == str(table)
    assert watch.done == []


def test_a_rate_of_its_own_is_taken_by_the_only_method(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[StudySpec, Config]] = []

    def kept(spec: StudySpec, config: Config, *others: object, **named: object) -> None:
        made.append((spec, config))
        raise Interrupted(15)

    monkeypatch.setattr(runner, "run_study", kept)
    assert main([*home.words("bench"), "--methods", "gd", "--search.step-size", "0.5"]) == 128 + 15
    ((spec, config),) = made
    assert (spec.methods, config.search.step_size) == (("gd",), 0.5)
    spec.check(config)


MISTAKES = [
    ("compare", ["--methods", "xnas", "dart"], "unknown method in methods 'dart'; did you mean 'darts'?"),
    ("compare", ["--methods", "gd", "gd"], "methods must differ; got gd gd"),
    ("compare", ["--seeds", "1", "1"], "seeds must differ; got 1 1"),
    ("compare", ["--seeds", "-1"], "seeds must be at least 0; got -1"),
    ("compare", ["--seeds", "x"], "--seeds: Could not find valid parse for arguments: ['x']\n"),
    ("compare", ["--seed", "3"], "leave out --search.method, --search.step-size and --seed\n"),
    ("compare", ["--search.method", "gd"], "each at its own rate"),
    ("compare", ["--search.step-size", "0.1"], "unless it is the only one"),
    ("compare", ["--seeds", *map(str, range(1001))], "seeds may name at most 1,000; got 1,001"),
    ("compare", ["--data", "nowhere"], "nowhere"),
    ("compare", ["--device", "nonsense"], "nonsense"),
    ("compare", ["--search.batch-size", "1000"], "search.batch_size 1000 is larger than"),
    ("compare", ["--retrain.batch-size", "1000"], "retrain.batch_size 1000 is larger than"),
    ("bench", ["--table", "none.csv"], "there is no table of NAS-Bench-201 at "),
    ("bench", ["--preset", "quick", "--config", "EMPTY"], "space.kind is nasbench201; got darts"),
    ("bench", ["--space.experts", "none"], "space.experts must hold an operation beside none; got none"),
    ("bench", ["--data", "cifar10", "--root", "nowhere"], "there is no data_batch_1.bin in "),
    ("bench", ["--data.padding", "16"], "data.padding 16 can push images of"),
    ("bench", ["--search.batch-size", "1000"], "search.batch_size 1000 is larger than"),
    (
        "experiment",
        ["search_seeds", "search_sedes"],
        "unknown setting 'search_sedes'; did you mean 'search_seeds'?",
    ),
    ("experiment", ["batch_size = 12", "batch_size = 1000"], "search.batch_size 1000 is larger than"),
    ("experiment", ["batch_size = 60", "batch_size = 1000"], "retrain.batch_size 1000 is larger than"),
    ("experiment", ["batch_size = 54", "batch_size = 60"], "larger than the training set of 54 images"),
    ("experiment", ["padding = 1", "padding = 99"], "data.padding 99 can push images"),
    ("sweep", ["flip = false", "flop = false"], "unknown setting 'flop'; did you mean 'flip'?"),
    ("sweep", ["flip = false", "padding = 99"], "data.padding 99 can push images"),
    ("sweep", ["flip = false", 'source = "nowhere/"'], "nowhere"),
    ("sweep", ["search.momentum = 0.5", "search.batch_size = 1000"], "search.batch_size 1000 is larger than"),
    ("sweep", ["retrain.learning_rate = 0.001", "retrain.batch_size = 1000"], "retrain.batch_size 1000 is"),
    ("sweep", ["steps = 1", "steps = 0"], "checkpoint.steps must be at least 1; got 0"),
]


@pytest.mark.parametrize(("command", "wrong", "said"), MISTAKES)
def test_a_mistake_ends_in_one_line_before_anything_is_written(
    command: str, wrong: list[str], said: str, home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = home.words(command, runs=tmp_path / "runs")
    if command in ("compare", "bench"):
        (tmp_path / "empty.toml").touch()
        words += [word.replace("EMPTY", str(tmp_path / "empty.toml")) for word in wrong]
    else:
        old, new = wrong
        (tmp_path / "wrong.toml").write_text((home.path / f"{command}.toml").read_text().replace(old, new))
        words[1] = str(tmp_path / "wrong.toml")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
