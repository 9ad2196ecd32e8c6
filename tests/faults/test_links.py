"""Links, pipes, sockets and devices in the place of what a command opens: refused in one line, or not looked at.

Nothing outside is read or written through them, which an audit hook notices, and no command waits.
"""

import hashlib
import io
import os
import shutil
import socket
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from xnas.cli import main

from ..conftest import COLOURS, coloured
from ..helpers.blank_pictures import draw_blank
from ..helpers.resource_limits import Hung, hanging_fails
from ..helpers.sealed_runs import seal
from ..helpers.smallest_run import SMALLEST

PATIENCE = 60
"""Seconds after which a command that waits is ended."""

OUTSIDE = "outside"
"""Name of the folder in which nothing may be opened, listed, moved or removed."""
_noticed: list[str] | None = None
"""What was, while a command is watched."""


def _notice(event: str, args: tuple[object, ...]) -> None:
    if _noticed is None:
        return
    follows = event in ("os.listdir", "os.scandir", "shutil.rmtree", "os.truncate", "os.chmod", "os.utime")
    if event == "open":
        follows = not (isinstance(args[2], int) and args[2] & os.O_NOFOLLOW)
    elif not follows and event not in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link"):
        return
    for path in args[:2]:
        if isinstance(path, str | bytes | os.PathLike):
            name = os.fsdecode(path)
            if OUTSIDE in Path(os.path.realpath(name if follows else os.path.dirname(name) or ".")).parts:
                _noticed.append(f"{event} {name}")


@pytest.fixture(scope="module", autouse=True)
def _noticing() -> None:
    sys.addaudithook(_notice)  # there is no way to take one out


Put = Callable[[Path, Path], None]
"""Something in the place of a path, given a folder called outside."""


def _away(path: Path, outside: Path) -> Path:
    """Where what was at the path is now, or something like it."""
    to = outside / path.name
    if os.path.lexists(path):
        shutil.move(path, to)
    elif "." in path.name.strip("."):
        to.write_text("precious")
    if not os.path.lexists(to):
        to.mkdir()
        (to / "precious").write_text("precious")
    return to


def _link_out(path: Path, outside: Path) -> None:
    path.symlink_to(_away(path, outside))


def _link_to_folder(path: Path, outside: Path) -> None:
    _away(path, outside)
    (outside / "a folder").mkdir()
    (outside / "a folder" / "precious").write_text("precious")
    path.symlink_to(outside / "a folder")


def _link_within(path: Path, outside: Path) -> None:
    del outside
    beside = path.with_name("beside-" + path.name)
    if os.path.lexists(path):
        path.rename(beside)
    else:
        beside.write_text("precious")
    path.symlink_to(beside.name)


def _dangling(path: Path, outside: Path) -> None:
    _away(path, outside)
    path.symlink_to(outside / "nothing" / "there")


def _loop(path: Path, outside: Path) -> None:
    _away(path, outside)
    path.symlink_to(path.name)


def _pipe(path: Path, outside: Path) -> None:
    _away(path, outside)
    os.mkfifo(path)


def _socket(path: Path, outside: Path) -> None:
    _away(path, outside)
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as made:  # its path may be too long for a socket
        made.bind(path.name)


def _device(path: Path, outside: Path) -> None:
    _away(path, outside)
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except OSError:  # only root may
        path.symlink_to("/dev/zero")


def _other_kind(path: Path, outside: Path) -> None:
    if _away(path, outside).is_dir():
        path.write_text("precious")
    else:
        path.mkdir()


KINDS: dict[str, Put] = {
    "link out": _link_out,
    "link to a folder": _link_to_folder,
    "link within": _link_within,
    "dangling link": _dangling,
    "loop": _loop,
    "pipe": _pipe,
    "socket": _socket,
    "device": _device,
    "folder for file": _other_kind,
}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command in a folder that has runs/, and where it may find something else than it expects."""

    words: tuple[str, ...]
    folder: str
    """All in it is replaced, one by one."""
    leavings: tuple[str, ...] = ()
    """What a process that died may have left, beside that."""
    usual: str = "not, or not only, what an export of this form has written"
    """What it says where it ends with 2 in another way."""
    short: tuple[str, ...] = ()
    """Of both, what is replaced in the short version."""


SETTINGS = ("--config", "smallest.toml")
RUN = ("run", *SETTINGS, "--controls", "1", "--name", "mine")
SEARCH = ("search", *SETTINGS, "--name", "search")
COMPARE = ("compare", *SETTINGS, "--methods", "xnas", "random", "--seeds", "0", "--name", "study")
EXPERIMENT = ("experiment", "experiment.toml", "--name", "trial")
SWEEP = ("sweep", "sweep.toml", "--name", "grid")
TO = ("--format", "safetensors", "--images", "images/test")
EXPORT = ("export", "runs/mine", "--to", "exported", *TO)
MANY = {
    "experiment.toml": "[experiment]\nsearch_seeds = [0]\nretrain_seeds = [0]\nrandom_cells = 0\n",
    "sweep.toml": "[sweep]\nsearch_seeds = [0]\nretrain_seeds = [0]\n",
}
"""The studies that are files."""

LEFT = (
    ".lock",
    ".config.toml.part",
    ".report.html.part",
    ".metrics.jsonl.part",
    "../.mine.discarded",
    "checkpoints/.staging-search-0000000009",
    "checkpoints/.discarded-search-0000000001",
    "checkpoints/damaged-search-0000000003",
)

COMMANDS: dict[str, Command] = {
    "show": Command(
        words=("show", "runs/mine"), folder="runs/mine", short=("config.toml", "controls", "result.json")
    ),
    "evaluate": Command(
        words=("evaluate", "runs/mine"), folder="runs/mine", short=("checkpoints", "config.toml")
    ),
    "export": Command(
        words=(*EXPORT, "--overwrite"),
        folder="exported",
        leavings=("../.exported.part", "../.exported.discarded"),
        short=(".", "config.json", "../.exported.part", "../.exported.discarded"),
    ),
    "export of a run": Command(words=("export", "runs/mine", "--to", "new", *TO), folder="runs/mine"),
    "predict": Command(
        words=("predict", "exported", "images/test"), folder="exported", short=("model.safetensors",)
    ),
    "predict by a run": Command(words=("predict", "runs/mine", "images/test"), folder="runs/mine"),
    "resume": Command(
        words=("resume", "runs/mine"),
        folder="runs/mine",
        leavings=LEFT,
        short=(*LEFT[:3], *LEFT[5:7], "checkpoints", "controls/xnas", "metrics.jsonl", "report.html"),
    ),
    "resume of a search": Command(
        words=("resume", "runs/search"),
        folder="runs/search",
        leavings=LEFT,
        short=(
            "checkpoints/search-0000000002",
            ".lock",
            "checkpoints/.staging-search-0000000009",
            "pictures",
        ),
    ),
    "the same run again": Command(words=RUN, folder="runs/mine", leavings=LEFT, short=(".",)),
    "a run that overwrites": Command(
        words=(*RUN[:-4], "--name", "mine", "--overwrite"),
        folder="runs/mine",
        leavings=LEFT,
        short=("../.mine.discarded", ".lock"),
    ),
    "retrain": Command(words=("retrain", "runs/mine"), folder="runs/mine", leavings=LEFT),
    "transfer": Command(
        words=("transfer", "runs/mine", "--data", "images", "--name", "new", "--device", "cpu"),
        folder="runs/mine",
    ),
    "resume of a comparison": Command(
        words=("resume", "runs/study"),
        folder="runs/study",
        leavings=("search-random-0/checkpoints/.staging-x", ".search-random-0.discarded", ".lock"),
        short=(
            "search-random-0",
            "search-xnas-0/checkpoints",
            "search-random-0/config.toml",
            ".search-random-0.discarded",
        ),
    ),
    "show of a comparison": Command(
        words=("show", "runs/study"), folder="runs/study", usual="holds many runs"
    ),
    "the same comparison again": Command(words=COMPARE, folder="runs/study"),
    "resume of an experiment": Command(words=("resume", "runs/trial"), folder="runs/trial"),
    "resume of a sweep": Command(words=("resume", "runs/grid"), folder="runs/grid"),
    "check": Command(words=("check", "images"), folder="images", usual="a folder of"),
    "search of images": Command(words=(*SEARCH[:-1], "new"), folder="images"),
}


def places(command: Command, home: Path, *, long: bool) -> list[str]:
    """What is replaced, in the command's folder; of what there is many of, one."""
    folder = home / command.folder
    seen: set[tuple[str, str]] = set()
    found = ["."]
    for path in sorted(folder.rglob("*")):
        kind = (str(path.parent), path.suffix)
        if path.suffix in (".png", ".svg") and kind in seen:
            continue
        seen.add(kind)
        found.append(str(path.relative_to(folder)))
    found = list(dict.fromkeys([*found, *command.leavings]))
    return found if long else list(command.short)


def contents(folder: Path) -> dict[str, str]:
    """What is in a folder, by path, links as links."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file() and not path.is_symlink()
        else stat.filemode(path.lstat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


def run_command(*words: str, at: Path) -> tuple[int, str]:
    """The exit code of a command in a folder, and what it printed."""
    said = io.StringIO()
    with chdir(at), redirect_stdout(said), redirect_stderr(said), hanging_fails(PATIENCE):
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:
            return 1, f"{said.getvalue()}{traceback.format_exc()}"
    return code, said.getvalue()


def restore(home: Path, folder: str, pristine: Path) -> None:
    """Have all as it was again, after a command that may have written into that folder and made others."""
    for place in (home, home / "runs"):
        for path in place.iterdir():
            relative = path.relative_to(home)
            if str(relative) == folder or not os.path.lexists(pristine / relative):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    shutil.copytree(pristine / folder, home / folder)


def put_and_try(command: Command, place: str, kind: str, *, pristine: Path, at: Path) -> tuple[int, str]:
    """The exit code of the command with something of the kind in that place, and what is wrong with how it ended."""
    global _noticed
    home, outside = at / "home", at / OUTSIDE
    if not home.exists():
        shutil.copytree(pristine, home)
    outside.mkdir()
    path = home / os.path.normpath(f"{command.folder}/{place}")
    KINDS[kind](path, outside)
    before, _noticed = contents(outside), []
    hangs = False
    try:
        code, said = run_command(*command.words, at=home)
    except Hung as error:
        hangs, code, said = True, -1, str(error)
    finally:
        noticed, _noticed = _noticed, None
    named = place == "."  # by the user, who may name a link
    wrong = {
        "traceback": "Traceback" in said,
        f"outside: {noticed[:3]}": bool(noticed) and not named,
        "outside written": contents(outside) != before and not named,
        "hang": hangs,
        f"exit {code}": code not in (0, 2),
        "no one line": code == 2 and said.count("xnas: ") != 1 and command.usual not in said,
        "unnamed": code == 2 and path.name not in said and command.usual not in said,
    }
    shutil.rmtree(outside)
    restore(home, command.folder, pristine)
    what = ", ".join(name for name, is_so in wrong.items() if is_so)
    return code, f"{what}: {kind} at {place}: {said.strip()[-300:]}" if what else ""


def prepare(home: Path, *, long: bool) -> None:
    """Fill a folder in which every command has ended once, but for a search that was stopped."""
    settings = SMALLEST.replace("epochs = 2", "epochs = 1").replace("batch_size = 60", "batch_size = 24")
    settings = 'device = "cpu"\nthreads = 1\n' + settings.replace("[data]", '[data]\nsource = "images"')
    (home / "smallest.toml").write_text(settings)
    for name, text in MANY.items():
        (home / name).write_text(settings + text)
    for part, count in (("train", 16), ("test", 2)):
        for label, (name, colour) in enumerate(COLOURS.items()):
            (home / "images" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = coloured(colour, seed=100 * label + i + 1000 * (part == "test"), size=8)
                Image.fromarray(pixels).save(home / "images" / part / name / f"{i:03}.png")
    for words in (RUN, SEARCH, COMPARE, EXPORT, *((EXPERIMENT, SWEEP) if long else ())):
        code, said = run_command(*words, at=home)
        assert code == 0, said[-2000:]
    newest = sorted((home / "runs" / "search" / "checkpoints").iterdir())[-1]
    shutil.rmtree(newest)  # it goes on from the one before, and has something to do
    (home / "runs" / "search" / "genotype.json").unlink()
    seal(home / "runs" / "search")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, long_faults: bool) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("pristine")
    with pytest.MonkeyPatch.context() as patch:
        draw_blank(patch.setattr)
        prepare(home, long=long_faults)
        yield home


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_no_file_or_folder_of_its_own_is_refused_in_one_line(
    name: str, pristine: Path, long_faults: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command, kinds = COMMANDS[name], list(KINDS)
    if not (command.short or long_faults):
        pytest.skip("at length")
    codes, wrong = [], []
    for number, place in enumerate(places(command, pristine, long=long_faults)):
        # In short a place meets two kinds, each in its turn; at length one, and those of the short version all.
        turns = (0, 5) if not long_faults else range(len(kinds) if place in command.short else 1)
        for kind in (kinds[(number + turn) % len(kinds)] for turn in turns):
            code, what = put_and_try(command, place, kind, pristine=pristine, at=tmp_path)
            codes.append(code)
            wrong += [what] if what else []
    request.node.user_properties.append(("figures", f"{len(codes)} tried, {codes.count(2)} refused"))
    assert not wrong, f"{len(wrong)} of {len(codes)}:\n" + "\n".join(wrong)
