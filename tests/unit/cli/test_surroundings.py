"""What is around a command: other processes that a launcher speaks of, memory, a home, the current folder."""

import builtins
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xnas.cli import main, memory
from xnas.cli.caches import private_caches
from xnas.cli.memory import TorchUnderLimit, lacks_memory
from xnas.io.errors import OutOfMemory

LAUNCHERS = (
    {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "nowhere"},
    {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"},
    {"RANK": "9", "WORLD_SIZE": "many"},
)


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=["srun", "torchrun", "nonsense"])
def test_verbs_that_need_no_other_process_do_not_look_for_any(
    launcher: dict[str, str],
    image_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    for words, code in (
        ("show --genotype xnas", 0),
        (f"check {image_folder}", 0),
        ("theory step-size --validation-samples 10 --epochs 1 --experts 2 --replicas 1", 0),
        ("predict no/model no/image.png", 2),
        ("export no/run --format onnx --to x.onnx", 2),
        ("--version", 0),
        ("", 0),
        ("serach", 2),
    ):
        assert main(words.split()) == code, words
    for words in ("run --help", "resume -h"):
        with pytest.raises(SystemExit, match="0"):
            main(words.split())
    assert "wait" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("libx.so: cannot allocate memory in static TLS block"),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "words", ["search --preset quick", "predict MODEL IMAGE", "show --genotype xnas --cost"]
)
def test_too_little_memory_to_load_torch_is_one_line_and_code_3(
    words: str,
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = builtins.__import__

    def without_memory(name: str, *more: Any, **how: Any) -> Any:
        if name == "torch" or name.startswith(("xnas.train.context", "xnas.export.predict")):
            raise error
        return original(name, *more, **how)

    (tmp_path / "image.png").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtins, "__import__", without_memory)
    assert main(words.replace("IMAGE", "image.png").split()) == 3
    said = capsys.readouterr().err
    assert said.startswith("xnas: out of memory: ")
    assert said.count("\n") == 1


def test_another_failure_of_an_import_is_no_lack_of_memory() -> None:
    for error in (
        ImportError("no module named torch"),
        OSError(errno.ENOSPC, "full"),
        RuntimeError("shapes"),
    ):
        assert not lacks_memory(error)
    # what another error led to
    later = ImportError("partially initialized module")
    later.__context__ = MemoryError()
    assert lacks_memory(later)


@pytest.mark.parametrize("ended", [-6, -11, -7, 3])
def test_a_library_that_would_end_the_process_for_want_of_memory_is_tried_in_a_child(
    ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_try_in_child", lambda: ended)
    finder = TorchUnderLimit()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert finder.find_spec("json", None) is None
    with pytest.raises(OutOfMemory, match="too little to load torch"):
        finder.find_spec("torch", None)
    assert finder.find_spec("torch", None) is None  # asked once: what loads it then says what it finds


@pytest.mark.parametrize("ended", [0, 1])
def test_what_a_child_can_load_or_cannot_for_another_reason_is_loaded(
    ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_try_in_child", lambda: ended)
    finder = TorchUnderLimit()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert finder.find_spec("torch", None) is None


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space work there")
def test_under_a_limit_that_is_too_low_a_search_ends_in_one_line() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -v 1000000; exec {sys.executable} -m xnas search --preset quick"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert "out of memory: there is too little to load torch; this process may take" in done.stderr


def test_without_a_home_and_a_name_packages_get_a_private_folder_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import getpass
    import pwd

    def nobody(number: int) -> Any:
        raise KeyError(number)

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "MPLCONFIGDIR", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", "mine")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    assert os.path.expanduser("~") == "~"
    with private_caches():
        place = Path(os.environ["MPLCONFIGDIR"]).parent
        assert place.is_dir()
        assert place.stat().st_mode & 0o077 == 0
        assert os.environ["HF_HOME"] == "mine"
        assert getpass.getuser()
    assert not place.exists()
    assert {"MPLCONFIGDIR", "LOGNAME", "TORCH_HOME"}.isdisjoint(os.environ)


def test_who_has_a_home_and_a_name_keeps_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "ann")
    before = dict(os.environ)
    with private_caches():
        assert dict(os.environ) == before


def test_every_path_may_begin_with_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert main(["show", "--genotype", "xnas", "--json", "--picture", "~/cells.svg"]) == 0
    (tmp_path / "cells.json").write_text(capsys.readouterr().out)
    assert main(["show", "--genotype", "~/cells.json", "--picture=~/cells.svg"]) == 0
    assert (tmp_path / "cells.svg").is_file()
    for words, said in (
        ("search --config=~/no.toml", "no.toml"),
        ("bench nasbench201 --table=~/no.csv", "no.csv"),
        ("resume ~/run", "run"),
        ("retrain --genotype=~/no.json", "no.json"),
        ("experiment ~/no.toml", "no.toml"),
        ("predict ~/model ~/no.png", "no.png"),
        ("check ~/pets", "pets"),
        ("search --data=~/pets --runs=~/runs", "pets"),
        ("search --data svhn --root=~/sets", "sets"),
    ):
        assert main(words.split()) == 2
        assert f"{tmp_path}/{said}" in capsys.readouterr().err, words
        nobody = words.replace("~/", "~nobody-of-that-name/")
        assert main(nobody.split()) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert "cannot find the home that ~nobody-of-that-name/" in line
    assert list((tmp_path / "away").iterdir()) == []


def test_without_a_home_a_path_that_begins_with_it_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pwd

    def nobody(number: int) -> Any:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    for words in ("search --runs=~/runs", "check ~/pets", "search --data ~/pets"):
        assert main(words.split()) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert "cannot find the home that ~/" in line
    assert list(tmp_path.iterdir()) == []
