"""Words of strangers: what a terminal would obey, a browser run or a file system follow is shown as the text it is."""

import contextlib
import io
import json
import logging
import os
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from xnas.cli import main
from xnas.config.loading import parse_config
from xnas.io.text import printable, short_repr
from xnas.report.page import write_report
from xnas.report.terminal import log_to_terminal
from xnas.runs.folder import Job, RunFolder

from ..helpers.resource_limits import watched
from ..helpers.run_builder import (
    CONFIG,
    ENVIRONMENT,
    build_run,
    result,
    search_rows,
    write,
    write_json,
    write_rows,
)

pytestmark = pytest.mark.usefixtures("by_hand")

TERMINAL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eback\r\x08\x7f\ud800"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='alert(3)' <b>&amp;]]>--></svg><style>*{}"
ACTING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Elements(HTMLParser):
    """The tags and attributes of a page, and the text between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_run(folder: Path, word: str) -> Path:
    """A run that says `word` wherever a file of it can hold text."""
    build_run(folder, search_epochs=1, retrain_epochs=1)
    plain = "".join(letter for letter in word if letter.isprintable())
    write(folder / "config.toml", CONFIG.replace('"fashion-mnist-small"', json.dumps(plain)))
    environment: dict[str, Any] = {
        **ENVIRONMENT,
        "device_name": word,
        "command": ["xnas", word, {"a": [word]}],
        word: word,
    }
    write_json(folder / "environment.json", environment)
    write_json(folder / "timing.json", {word: {"seconds": 1.5}})
    write_json(folder / "result.json", result(word, 0.9))
    write_json(folder / "controls" / "xnas" / "result.json", result(word, 0.8))
    rows: list[Any] = search_rows(epochs=2)
    for row in rows:
        for key in ("name", "group", "expert", "feedback"):
            if key in row:
                row[key] = str(row[key]).replace("normal", word).replace("skip_connect", word)
        if "experts" in row:
            row["experts"] = [name.replace("skip_connect", word) for name in row["experts"]]
            row["edges"] = [word + edge for edge in row["edges"]]
        if "groups" in row and isinstance(row["groups"], dict):
            row["groups"] = {name.replace("normal", word): value for name, value in row["groups"].items()}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


WORDS = {"markup": MARKUP, "terminal": TERMINAL, "both": MARKUP + TERMINAL}


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Elements:
    """The report of a run of plain words."""
    return reported(build_run(tmp_path_factory.mktemp("plain") / "run", search_epochs=1, retrain_epochs=1))


def reported(run: Path) -> Elements:
    assert watched(lambda: write_report(run), most_seconds=20).refusal is None
    return Elements((run / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", WORDS)
def test_no_word_of_a_run_becomes_a_part_of_its_report_or_its_pictures(
    name: str, usual: Elements, tmp_path: Path
) -> None:
    folder = hostile_run(tmp_path / "run", WORDS[name])
    hostile = reported(folder)
    assert hostile.tags <= usual.tags
    assert hostile.attributes <= usual.attributes
    if name == "markup":
        assert MARKUP in hostile.text
    assert not ACTING.search((folder / "report.html").read_text(encoding="utf-8"))
    pictures = list((folder / "pictures").glob("*.svg"))
    assert len(pictures) > 5
    for picture in pictures:
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(picture).iter()}
        assert not tags & {"script", "img", "b", "foreignObject", "a", "image"}


def test_what_is_said_on_the_terminal_cannot_steer_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = hostile_run(tmp_path / "run", TERMINAL)
    assert main(["show", str(folder)]) == 0
    said = capsys.readouterr().out
    assert not ACTING.search(said)
    assert r"\x1b[2J\x1b]0;title\x07" in said


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.toml", f"{json.dumps(TERMINAL[:20])} = 1"),
        ("config.toml", '[data]\nsource = "\\u001b[2J"'),
        ("genotype.json", '{"format": "xnas-genotype", "\x1b[2J": 1}'),
        ("genotype.json", '{"format": "xnas-genotype", "\\u001b[2J": 1}'),
        ("result.json", json.dumps(result("found", 0.5) | {"epochs": TERMINAL})),
        ("result.json", json.dumps({TERMINAL: 1})),
        ("result.json", '{"\\u001b[2J": 1, "\\u001b[2J": 2}'),
    ],
)  # fmt: skip
def test_an_error_that_quotes_a_file_is_one_line_that_cannot_steer_the_terminal(
    file: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=0)
    (folder / file).write_bytes(content.encode("utf-8", "surrogatepass"))
    assert main(["show", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not ACTING.search(said)


def test_a_word_of_the_caller_that_steers_the_terminal_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["\x1b[2J"], ["show", "\x1b[2J"], ["show", "--genotype", "\x1b[2J"], ["show", "--\x1b[2J"]):
        assert main(words) == 2
        assert not ACTING.search(capsys.readouterr().err)


def test_a_long_mistake_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "x" * 100_000]) == 2
    assert len(capsys.readouterr().err) < 2100


def test_lines_of_a_run_cannot_steer_the_terminal() -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), log_to_terminal():
        logging.getLogger("xnas.data").info(f"class {TERMINAL}\nnext [bold]line[/bold] :smile:")
    assert not ACTING.search(output.getvalue())
    assert output.getvalue().endswith("\nnext [bold]line[/bold] :smile:\n")


@pytest.mark.parametrize("key", ["source", "root"])
def test_settings_hold_no_control_characters(key: str) -> None:
    refusal = str(watched(lambda: parse_config(f'[data]\n{key} = "\\u001b[2J"', where="theirs")).refusal)
    assert f"data.{key} must be plain text" in refusal
    assert "\x1b" not in refusal


def test_every_acting_character_is_made_visible_and_others_stay() -> None:
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0x2028,
        0xD800,
        0xDFFF,
    ):
        assert printable(f"a{chr(code)}b") == f"a\\{f'x{code:02x}' if code < 256 else f'u{code:04x}'}b"
    assert printable("a\nb\tc", lines=True) == "a\nb\\x09c"
    assert printable("é ± → 家 🙂 \u00a0") == "é ± → 家 🙂 \u00a0"
    assert short_repr("\x1b[2J\n") == r"'\x1b[2J\n'"


def test_a_download_is_not_started_because_a_runs_file_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=0)
    place = tmp_path / "home"
    write(run / "config.toml", f'[data]\nsource = "cifar10"\nroot = "{place}"\ndownload = true\n')
    RunFolder(run).write_job(Job(command="search"))
    for words in (["retrain", str(run), "--overwrite"], ["resume", str(run)]):
        assert main(words) == 2
        assert "there is no" in capsys.readouterr().err
        assert not os.path.exists(place)


def test_rows_of_any_kind_may_hold_anything(tmp_path: Path) -> None:
    write_rows(tmp_path, [{"kind": MARKUP[:200], "it": [MARKUP]}])
    assert watched(lambda: write_report(tmp_path)).refusal is None
