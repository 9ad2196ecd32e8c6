"""What the demonstrations leave on the disk."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from xnas.cli.theory import NAMES
from xnas.report.figures.style import svg_bytes
from xnas.theory.demonstration import Numbers, markdown_table, power, rounded, share_text, table_lines
from xnas.theory.demonstrations import DEMONSTRATIONS
from xnas.theory.page import render_page, to_json, write_demonstration, write_page

from ...helpers.small_games import played


@pytest.fixture(scope="module")
def small() -> dict[str, Numbers]:
    return played()


def test_the_names_known_without_torch_are_those_that_can_be_played() -> None:
    assert list(NAMES) == list(DEMONSTRATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_each_writes_a_picture_twice_and_its_numbers_and_the_same_bytes_again(
    name: str, small: dict[str, Numbers], tmp_path: Path
) -> None:
    first = write_demonstration(tmp_path / "a", DEMONSTRATIONS[name], small[name])
    second = write_demonstration(tmp_path / "b", DEMONSTRATIONS[name], small[name])
    assert [path.name for path in first] == [f"{name}.svg", f"{name}.png", f"{name}.json"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    picture = Image.open(io.BytesIO(first[1].read_bytes()))
    picture.load()
    assert picture.width > 800
    stored = json.loads(first[2].read_text(encoding="utf-8"))
    assert (stored["format"], stored["version"], stored["name"]) == ("xnas-theory", 1, name)
    assert set(stored["versions"]) == {"xnas", "torch"}
    assert stored["n"] == small[name]["n"]
    assert stored["settings"] == small[name]["settings"]


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_and_a_table_are_made_of_the_stored_numbers_alone(
    name: str, small: dict[str, Numbers]
) -> None:
    demonstration = DEMONSTRATIONS[name]
    stored = json.loads(to_json(name, small[name]))
    assert demonstration.table(stored) == demonstration.table(small[name])
    demonstration.draw(stored)


def test_one_seed_alone_can_be_drawn() -> None:
    for name, numbers in played(seeds=1).items():
        assert svg_bytes(DEMONSTRATIONS[name].draw(numbers), name=name)


def test_the_page_needs_nothing_else_and_shows_every_demonstration(
    small: dict[str, Numbers], tmp_path: Path
) -> None:
    found = {name: (DEMONSTRATIONS[name], numbers) for name, numbers in small.items()}
    page = write_page(tmp_path, found).read_text(encoding="utf-8")
    assert page == render_page(found)
    for demonstration in DEMONSTRATIONS.values():
        assert f"<h2>{demonstration.title}</h2>" in page
    assert page.count("<svg ") == len(DEMONSTRATIONS)
    assert not re.search(r'(?:src|href)="(?!#)', page)
    identifiers = re.findall(r' id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_a_folder_that_is_a_file_takes_nothing(small: dict[str, Numbers], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is no folder; choose another place"):
        write_demonstration(tmp_path / "file", DEMONSTRATIONS["wipeout"], small["wipeout"])


def test_kept_numbers_have_six_digits_and_none_in_place_of_what_is_not_finite() -> None:
    assert rounded(
        {"a": [0.123456789, (1 / 3, float("inf"))], "b": {"c": float("nan"), "d": 5}, "e": None}
    ) == {
        "a": [0.123457, [0.333333, None]],
        "b": {"c": None, "d": 5},
        "e": None,
    }


def test_a_table_is_lined_up_as_text_and_marked_up_as_markdown() -> None:
    table = (["learner", "regret"], [["XNAS", "3.2"], ["gd", "10.0"]])
    assert table_lines(table) == ["learner  regret", "XNAS        3.2", "gd         10.0"]
    assert markdown_table(table).splitlines()[:3] == [
        "| learner | regret |",
        "| --- | ---: |",
        "| XNAS | 3.2 |",
    ]


def test_numbers_in_words() -> None:
    assert [power(value) for value in (1e-6, 1e-3, 0.01, 2e-6, 1, 64)] == [
        "10⁻⁶",
        "10⁻³",
        "0.01",
        "2e-06",
        "1",
        "64",
    ]
    assert [share_text(share) for share in (0.5, 0.025, 0.84375, 1.0, None)] == [
        "50 %", "2.5 %", "84.4 %", "100 %", "never",
    ]  # fmt: skip
