"""What xnas check prints, as text and as JSON, and the code that it ends with."""

import json
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from xnas.cli import check as check_command
from xnas.cli import main


def test_good_data_ends_with_a_table_and_code_0(
    image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(12):
        (image_folder / "train" / "red" / f"{i:03}.png").rename(image_folder / "train" / "red" / f"b{i}.png")
    assert main(["check", str(image_folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["class", "train", "test"], ["blue", "20", "4"], ["green", "20", "4"], ["red", "20", "4"],
    ]  # fmt: skip
    assert lines[-1].startswith(f"{image_folder}, a folder of 72 images: nothing wrong was found (")


def test_warnings_alone_end_with_code_0_and_errors_come_first(
    image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image_folder / "train" / "red" / "notes.txt").write_text("red")
    assert main(["check", str(image_folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("warnings: a run continues\n")
    assert "0 errors, 1 warning (" in printed
    (image_folder / "train" / "red" / "000.png").write_bytes(b"")
    assert main(["check", str(image_folder)]) == 2
    printed = capsys.readouterr().out
    assert printed.startswith("errors: a run would stop, or its result be worthless\n  empty files: 1\n")
    assert "1 error, 1 warning (" in printed


def test_of_many_places_the_first_few_are_printed_and_the_rest_counted(
    image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (image_folder / "train" / "red").iterdir():
        path.write_bytes(b"")
    assert main(["check", str(image_folder)]) == 2
    printed = capsys.readouterr().out
    assert "  empty files: 20\n    train/red/000.png\n" in printed
    assert "train/red/004.png\n    and 15 more\n    -> 0 bytes: fetch them again or take them out" in printed


def test_json_is_all_that_is_printed_and_says_the_same(
    image_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_command, "LARGE", 10)
    (image_folder / "train" / "red" / "000.png").write_bytes(b"")
    assert main(["check", str(image_folder), "--json"]) == 2
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["format"], report["version"]) == ("xnas-check", 1)
    assert (report["errors"], report["warnings"], report["split"]) == (1, 0, False)
    assert report["classes"][0] == {"name": "blue", "train": 20, "test": 4}
    assert report["findings"][0]["examples"] == ["train/red/000.png"]
    assert printed.err.splitlines() == [f"looked at {count} of 72 images" for count in (18, 36, 54, 72)]


def test_a_name_cannot_command_the_terminal(image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (image_folder / "train" / "red" / "a\x1b[31m\nred.txt").write_text("")
    assert main(["check", str(image_folder)]) == 0
    printed = capsys.readouterr().out
    assert r"train/red/a\x1b[31m\nred.txt" in printed
    assert "\x1b" not in printed


def test_of_many_classes_the_smallest_and_the_largest_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(50):
        (tmp_path / f"class{i}").mkdir()
        for j in range(3 + i % 2):
            Image.new("L", (8, 8), 50 * j + i).save(tmp_path / f"class{i}" / f"{j}.png")
    main(["check", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("class") and line.split()[1] in "34"]) == 40
    assert "... 10 classes between these in size; --json has them all" in lines
    assert "There are no test images: a run sets some of these aside." in lines


def test_ctrl_c_ends_the_check_in_the_middle(image_folder: Path) -> None:
    code = (
        "import os, sys, time\nfrom xnas.data.check import folder\nfrom xnas.cli import main\n"
        "look_at = folder.inspect_image\n"
        "def slow(path, **named):\n    os.write(1, b'looking\\n')\n    time.sleep(0.5)\n"
        "    return look_at(path, **named)\n"
        "folder.inspect_image = slow\nsys.exit(main(sys.argv[1:]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, "check", str(image_folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "looking\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["images.zip", "images.tar.gz", "list.txt"])
def test_a_file_is_refused_in_one_line_and_an_archive_is_not_unpacked(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("train/cat/0.png", b"an image")
    assert main(["check", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / name} is a file; give a folder of train/CLASS/* or of CLASS/*" in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
