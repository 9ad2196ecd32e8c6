"""The command line: its flags are a promise, its mistakes end in one line with exit code 2, its help is quick."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from xnas.cli import COMMANDS, main
from xnas.cli import check as check_command
from xnas.cli import evaluate as evaluate_command
from xnas.cli import export as export_command
from xnas.cli import predict as predict_command
from xnas.cli import resume as resume_command
from xnas.cli import retrain as retrain_command
from xnas.cli import run as run_command
from xnas.cli import show as show_command
from xnas.cli import study as study_verbs
from xnas.cli import theory as theory_command
from xnas.cli import transfer as transfer_command
from xnas.cli.args import NewRun

SETTINGS = [
    "checkpoint.keep",
    "checkpoint.minutes",
    "checkpoint.steps",
    "data.crop",
    "data.cutout",
    "data.decode-memory",
    "data.download",
    "data.flip",
    "data.held-out",
    "data.fold",
    "data.image-size",
    "data.max-broken",
    "data.padding",
    "data.policy",
    "data.root",
    "data.source",
    "data.split-seed",
    "data.test-fraction",
    "data.workers",
    "device",
    "distributed.backend",
    "distributed.sync-norm",
    "distributed.timeout",
    "retrain.auxiliary-weight",
    "retrain.batch-size",
    "retrain.cells",
    "retrain.channels",
    "retrain.clip-norm",
    "retrain.cosine-power",
    "retrain.cycle-decay",
    "retrain.cycles",
    "retrain.drop-path",
    "retrain.epochs",
    "retrain.label-smoothing",
    "retrain.learning-rate",
    "retrain.learning-rate-min",
    "retrain.momentum",
    "retrain.nesterov",
    "retrain.precision",
    "retrain.reductions",
    "retrain.squeeze-excite",
    "retrain.stem",
    "retrain.stem-channels",
    "retrain.weight-decay",
    "search.architecture-weight-decay",
    "search.batch-size",
    "search.clip-norm",
    "search.epochs",
    "search.feedback",
    "search.learning-rate",
    "search.learning-rate-min",
    "search.momentum",
    "search.method",
    "search.precision",
    "search.reward-bound",
    "search.step-size",
    "search.validation-share",
    "search.warmup-epochs",
    "search.weight-decay",
    "search.wipeout",
    "search.zeta",
    "activation-checkpointing",
    "seed",
    "space.cells",
    "threads",
    "space.channels",
    "space.choose-none",
    "space.experts",
    "space.kind",
    "space.nodes",
    "space.partial-channels",
    "space.reductions",
    "space.stem",
]
CLUSTER = ["address", "cpus", "gpus"]
PLACE = ["config", "name", "overwrite", "preset", "runs"]
STEP_SIZE = "theory step-size --validation-samples 25000 --epochs 50 --experts 8 --replicas 6"
DATA = [flag for flag in SETTINGS if flag.startswith("data.")]
RETRAIN = [flag for flag in SETTINGS if flag.startswith("retrain.")]


def flags(kind: type, prefix: str = "") -> list[str]:
    found = []
    for item in dataclasses.fields(kind):
        name = prefix + item.name.replace("_", "-")
        inner = item.type
        found += flags(inner, f"{name}.") if dataclasses.is_dataclass(inner) else [name]  # type: ignore[arg-type]
    return sorted(found)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (NewRun, SETTINGS + PLACE),
        (run_command.RunArguments, [*SETTINGS, *PLACE, "controls"]),
        (retrain_command.RetrainArguments, [*SETTINGS, *PLACE, "genotype", "run"]),
        (transfer_command.TransferArguments, [*SETTINGS, *PLACE, "run"]),
        (
            resume_command.ResumeArguments,
            [*CLUSTER, "data", "device", "root", "run", "activation-checkpointing", "threads"],
        ),
        (study_verbs.CompareArguments, [*SETTINGS, *PLACE, *CLUSTER, "methods", "seeds"]),
        (study_verbs.BenchArguments, [*SETTINGS, *PLACE, *CLUSTER, "benchmark", "methods", "seeds", "table"]),
        (
            study_verbs.FileArguments,
            [*CLUSTER, "device", "file", "name", "overwrite", "root", "runs", "threads"],
        ),
        (evaluate_command.EvaluateArguments, [*DATA, "device", "run"]),
        (
            export_command.ExportArguments,
            [*DATA, "format", "images", "normalisation", "onnx-ir", "onnx-opset", "overwrite", "run", "to"],
        ),
        (
            predict_command.PredictArguments,
            ["decode-memory", "device", "image-size", "images", "json", "model", "top", "unchecked"],
        ),
        (
            check_command.CheckArguments,
            ["data", "decode-memory", "download", "fold", "image-size", "json", "root"],
        ),
        (
            show_command.ShowArguments,
            [*RETRAIN, "classes", "cost", "genotype", "image-shape", "json", "picture", "run"],
        ),
        (theory_command.TheoryArguments, ["name", "out", "seeds"]),
        (
            theory_command.StepSizeArguments,
            ["epochs", "experts", "replicas", "reward-bound", "step-size", "validation-samples", "zeta"],
        ),
    ],
)
def test_the_flags_are_these(kind: type, expected: list[str]) -> None:
    assert flags(kind) == sorted(expected)


def test_the_verbs_are_these() -> None:
    assert list(COMMANDS) == [
        "run",
        "search",
        "retrain",
        "transfer",
        "resume",
        "evaluate",
        "export",
        "predict",
        "compare",
        "bench",
        "experiment",
        "sweep",
        "check",
        "show",
        "theory",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["bench", "--help"],
        ["experiment", "--help"],
        ["experiment", "no.toml", "--help"],
        ["sweep", "--help"],
        ["check", "--help"],
        ["show", "--help"],
        ["transfer", "--help"],
        ["export", "--help"],
        ["predict", "--help"],
        ["theory", "--help"],
        ["theory", "step-size", "--help"],
        ["--version"],
        [],
    ],
)
def test_help_is_answered_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom xnas.cli import main\n"
        f"try:\n    code = main({arguments!r})\nexcept SystemExit as end:\n    code = end.code\n"
        "sys.exit(code or ('torch' in sys.modules) or ('ray' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "xnas" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "shwo",
            "xnas: unknown command 'shwo'; did you mean 'show'? Known: run, search, retrain, transfer, resume,",
        ),
        ("run --preset quik", "xnas: unknown preset 'quik'; did you mean 'quick'?"),
        ("run --search.epoch 3", "did you mean --search.epochs"),
        ("run --search.epochs 0", "search.epochs must be at least 1; got 0"),
        ("run --search.epochs many", "--search.epochs"),
        ("run --space.stem cifarr", "invalid choice 'cifarr'"),
        (
            "run --search.precision bfloat",
            "unknown precision in search.precision 'bfloat'; did you mean 'bfloat16'? Known: float32, bfloat16",
        ),
        ("run --data.policy cifar", "invalid choice 'cifar'"),
        ("run --data.crop resize", "invalid choice 'resize'"),
        ("run --data.fold -1", "data.fold must be at least 0; got -1"),
        ("run --retrain.precision half", "unknown precision in retrain.precision 'half'. Known: float32,"),
        ("run --controls -1", "controls must not be negative; got -1"),
        ("run --space.cells 2 --space.reductions 3", "space.reductions = 3 do not fit into space.cells = 2"),
        ("search --config none.toml", "cannot read the settings none.toml: No such file or directory"),
        ("search --device cuda:99", "device 'cuda:99' is not there; this machine has"),
        ("search --data no/such/folder", "no/such/folder"),
        ("search --data cifar10 --root elsewhere", "cifar10: there is no data_batch_1.bin in "),
        ("run --roots elsewhere", "Unrecognized options: --roots, elsewhere; did you mean --root?"),
        ("bench", "{nasbench201} The benchmark"),
        ("bench nasbench", "unknown benchmark 'nasbench'; did you mean 'nasbench201'?"),
        ("bench nasbench201", "give --table, the accuracies of all cells of NAS-Bench-201"),
        ("bench nasbench201 --tabel x", "did you mean --table"),
        ("experiment", "required"),
        ("experiment no.toml", "cannot read the settings no.toml: No such file or directory"),
        ("experiment no.toml --seeds 3", "Unrecognized options: --seeds"),
        ("sweep", "required"),
        ("sweep no.toml", "cannot read the settings no.toml: No such file or directory"),
        ("sweep no.toml --adress auto", "Unrecognized options: --adress, auto; did you mean --address?"),
        (
            "sweep no.toml --cpus 2",
            "--cpus is of a task on a cluster; give --address too, or --threads instead",
        ),
        (
            "sweep no.toml --address nowhere",
            "--address must be HOST:PORT of a Ray cluster's head, auto or local",
        ),
        ("sweep no.toml --address auto --cpus 1.5", "--cpus above 1 must be a whole number; got 1.5"),
        ("compare --address auto --gpus -1", "--gpus must lie between 0 and 4096; got -1"),
        ("bench nasbench201 --table no.csv --gpus nan", "--gpus is of a task on a cluster; give --address"),
        ("resume no/run --address auto --cpus 0", "--cpus must lie between 0.01 and 4096; got 0"),
        ("run --data.held-out 1", "data.held_out must lie in [0, 1); got 1.0"),
        ("run --data.split-seed -1", "data.split_seed must be at least 0; got -1"),
        ("retrain", "give either the folder of a search, or --genotype with a name or a file"),
        ("retrain no/run", "no/run is not a run folder: it has no config.toml"),
        ("retrain --genotype xnass", "unknown published genotype 'xnass'"),
        ("transfer", "required"),
        ("transfer no/run --data cifar10", "no/run is not a run folder: it has no config.toml"),
        ("transfer no/run --preset quick", "no/run"),
        ("transfer no/run --preset full", "say on which images with --data, a data set or a folder"),
        ("search --data svhn --root elsewhere", "svhn: there is no train_32x32.mat in "),
        ("search --data cifar10 --data.fold 1", "data.fold is for freiburg, which has official folds"),
        ("search --data imagenet", "imagenet: there is no folder with train/ and val/ in "),
        ("resume no/run", "no/run is not a run folder: it has no config.toml"),
        ("resume", "required"),
        ("search --checkpoint.minutes 0", "checkpoint.minutes must be positive; got 0"),
        ("search --checkpoint.keep 1", "checkpoint.keep must be at least 2; got 1"),
        ("evaluate no/run", "no/run is not a run folder: it has no config.toml"),
        ("evaluate", "required"),
        ("export no/run --format onnx --to x.onnx", "no/run is not a run folder: it has no config.toml"),
        ("export no/run --format onxx --to x.onnx", "invalid choice 'onxx'"),
        ("export no/run --format onnx", "required"),
        ("predict", "required"),
        ("predict no/model", "give images or folders of images behind the model"),
        ("predict no/model no/image.png", "no/image.png does not exist; give images or folders of images"),
        ("predict no/model . --top 0", "top must be at least 1; got 0"),
        ("predict no/model . --image-size 0 8", "image_size must be a height and a width from 1 to 4096"),
        ("check", "required"),
        ("check cifar", "unknown data set 'cifar'; did you mean 'cifar10'?"),
        ("check no/such/folder", "no/such/folder does not exist; give a folder of train/CLASS/*"),
        ("check cifar10 --data.root elsewhere", "there is no data_batch_1.bin in elsewhere"),
        ("check . --image-size 4", "image_size must be at least 8; got 4"),
        ("show", "give the folder of a run, or --genotype with a file or one of xnas"),
        ("show --genotype xnass", "did you mean 'xnas'?"),
        ("show --genotype xnas --cost --classes 1", "at least 2 classes"),
        ("show --genotype xnas --picture cells.gif", ".svg"),
        ("theory", "required"),
        (
            "theory late-bloomer",
            "unknown demonstration 'late-bloomer'; did you mean 'late-bloomers'? Known: late-",
        ),
        ("theory wipeout --seeds 0", "seeds must be from 1 to 1,000; got 0"),
        ("theory wipeout --seed 3", "did you mean --seeds"),
        ("theory --seeds 2 step-size", "give step-size first, then its flags"),
        ("theory step-size", "required"),
        (
            f"{STEP_SIZE} --experts 1",
            "experts must be from 2 to 1e+12, or there is nothing to choose; got 1",
        ),
        (f"{STEP_SIZE} --epochs 0", "epochs must be from 1 to 1e+12; got 0"),
        (f"{STEP_SIZE} --validation-samples 0", "validation_samples must be from 1 to"),
        (f"{STEP_SIZE} --reward-bound 0", "reward_bound must be positive and finite; got 0.0"),
        (f"{STEP_SIZE} --reward-bound nan", "reward_bound must be positive and finite; got nan"),
        (f"{STEP_SIZE} --step-size -1", "step_size must be positive and finite; got -1.0"),
        (f"{STEP_SIZE} --zeta 0", "zeta must lie in (0, 1]; got 0.0"),
        (f"{STEP_SIZE} --zeta 1.01", "zeta must lie in (0, 1]; got 1.01"),
    ],
)
def test_a_mistake_ends_in_one_line_with_exit_code_2(
    arguments: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_a_genotype_file_that_is_not_one_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    path.write_text('{"format": "recipe"}')
    assert main(["show", "--genotype", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_a_shown_genotype_can_be_shown_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["show", "--genotype", "xnas", "--json"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "mine.json").write_text(first)
    assert main(["show", "--genotype", str(tmp_path / "mine.json"), "--json"]) == 0
    assert capsys.readouterr().out == first


def test_the_cost_of_the_published_network_is_printed_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--genotype", "xnas", "--cost"]) == 0
    assert "3,793,438 parameters, 595.5 M multiply-adds" in capsys.readouterr().out


def test_both_cells_are_drawn_into_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["show", "--genotype", "darts_v2", "--picture", str(tmp_path / "cells.svg")]) == 0
    assert (tmp_path / "cells.svg").read_text().lstrip().startswith("<?xml")
    del capsys
