import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from xnas.report import page as report_page
from xnas.report.page import write_report
from xnas.space.genotype import Genotype

from ...helpers.run_builder import CONFIG, ENVIRONMENT, build_run, search_rows, write, write_json, write_rows


class Structure(HTMLParser):
    """Checks that elements close in order; gathers tags, ids and text."""

    VOID = ("meta", "br", "link", "img", "hr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []
        self.text = " ".join(self.text.split())  # as a browser shows it

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Structure:
    return Structure(path.read_text(encoding="utf-8"))


@pytest.fixture
def _blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn, but those that are written are blank, for tests of the page's words."""
    svg = b'<svg width="9pt" height="9pt" viewBox="0 0 9 9"></svg>'
    monkeypatch.setattr(report_page, "svg_bytes", lambda figure, name: svg)
    monkeypatch.setattr(report_page, "png_bytes", lambda figure: b"PNG")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_run(tmp_path_factory.mktemp("runs") / "whole")
    write_report(folder)
    return folder


def test_the_report_of_a_whole_run_says_what_matters(whole: Path) -> None:
    page = read(whole / "report.html")
    for word in (
        "90.70 %",
        "89.3 to 91.9 %",
        "84.1 k",
        "fashion-mnist-small",
        "9 min 34 s",
        "random cells, mean ± sd",
        "published xnas cell",
        "behind the published xnas cell",
        "experts were wiped out; the first 8:",
        "xnas run --preset quick --controls 3",
        "Genotype(normal=[",
        "Example processor, 2 cores",
        "Did the search keep its promise?",
        "the regret of all 28 forecasters is within its bound",
        "losses that are convex in the mixture, which those of a deep network are not",
        "Here F feedbacks, measured at the same weights, make one update",
        "With ζ < 1 (normal, reduction) the regret is against the survivors only, and lemma 1 does not hold",
        "The health of the search",
        "L = 1 suits the rewards (mean |R| 0.3, 5.0% clipped)",
    ):
        assert word in page.text


def test_the_pictures_are_files_too_and_nothing_half_written_is_left(whole: Path) -> None:
    names = {path.name for path in (whole / "pictures").iterdir()}
    stems = (
        "cell-normal", "cell-reduction", "search-loss", "search-accuracy", "retrain-loss", "retrain-accuracy",
        "experts-normal", "experts-reduction", "survivors", "supernet-size", "regret", "wipeout-factor", "clip-rate",
        "health",
    )  # fmt: skip
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in ("svg", "png")}
    assert not list(whole.rglob(".*"))


def test_the_page_needs_no_network_and_no_script_and_its_identifiers_are_unique(whole: Path) -> None:
    text = (whole / "report.html").read_text(encoding="utf-8")
    page = Structure(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "foreignobject"}
    # What is left are names of XML's namespaces, which nothing fetches.
    fetched = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"https?://|@import|url\((?!#)", fetched)
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text)) <= {
        pair for name in page.ids for pair in ((name, ""), ("", name))
    }


def test_the_same_folder_gives_the_same_bytes_whatever_the_users_matplotlib_settings_are(
    whole: Path, tmp_path: Path
) -> None:
    again = tmp_path / "whole"
    shutil.copytree(whole, again, ignore=shutil.ignore_patterns("report.html", "pictures"))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        write_report(again)
    for path in sorted(whole.rglob("*")):
        if path.is_file():
            assert (again / path.relative_to(whole)).read_bytes() == path.read_bytes(), path.name


@pytest.mark.usefixtures("_blank")
def test_what_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    page = read(write_report(folder))
    assert "No network has been trained from scratch and tested yet" in page.text
    write(folder / "config.toml", CONFIG)
    assert "fashion-mnist-small" in read(write_report(folder)).text


@pytest.mark.usefixtures("_blank")
@pytest.mark.parametrize(
    "file", ["config.toml", "environment.json", "genotype.json", "timing.json", "metrics.jsonl"]
)
def test_any_one_file_may_be_missing(tmp_path: Path, file: str) -> None:
    folder = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=1)
    (folder / file).unlink()
    assert "90.70 %" in read(write_report(folder)).text


@pytest.mark.usefixtures("_blank")
def test_an_interrupted_search_says_how_far_it_came(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", search_epochs=2, retrain_epochs=0, tested=False, controls=False)
    text = read(write_report(folder)).text
    assert "The search has not ended: 2 of 5 epochs are on record" in text
    assert "No network has been trained from scratch and tested yet" in text


@pytest.mark.usefixtures("_blank")
def test_a_search_interrupted_in_its_first_epoch_has_a_report(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=0, tested=False, controls=False)
    text = read(write_report(folder)).text
    assert "0 of 5 epochs" in text
    assert "no expert had been rewarded" in text
    assert "What the experts did" not in text


@pytest.mark.usefixtures("_blank")
def test_a_run_of_a_version_that_kept_no_ledger_has_its_health_without_the_promise(tmp_path: Path) -> None:
    page = read(write_report(build_run(tmp_path / "run", controls=False, ledger=False)))
    assert "The health of the search" in page.text
    assert "led by" in page.text
    assert "Did the search keep its promise?" not in page.text
    assert "multiply-adds for one image" not in page.text
    names = {path.stem for path in (tmp_path / "run" / "pictures").iterdir()}
    assert "health" in names
    assert not names & {"regret", "wipeout-factor", "clip-rate"}


@pytest.mark.usefixtures("_blank")
def test_a_rivals_search_has_neither_a_promise_nor_what_is_decided(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", search_epochs=2, retrain_epochs=0, tested=False, controls=False)
    rows = search_rows(epochs=2, ledger=False)
    for row in rows:
        if row["kind"] == "group":
            row |= {"method": "gd", "reward_bound": None, "zeta": None}
    write_rows(folder, [row for row in rows if row["kind"] != "wipeout"])
    page = read(write_report(folder))
    assert "The health of the search" in page.text
    assert "not clipped" in page.text
    assert "Did the search keep its promise?" not in page.text
    assert "decided" not in page.text


@pytest.mark.usefixtures("_blank")
def test_a_search_whose_rewards_have_units_of_their_own_says_what_is_bounded_then(tmp_path: Path) -> None:
    small: dict[str, Any] = {"search_epochs": 2, "retrain_epochs": 0, "tested": False, "controls": False}
    clipped = read(write_report(build_run(tmp_path / "clipped", **small))).text
    assert "in nats. Worst" in clipped
    assert "The bound, η L² t / 2" in clipped
    assert "clips rewards (loss per unit of mixture weight, in nats) to -L to L" in clipped
    folder = build_run(tmp_path / "scaled", **small)
    rows = search_rows(epochs=2)
    write_rows(folder, [row | {"scaled": True} if row["kind"] == "group" else row for row in rows])
    scaled = read(write_report(folder)).text
    assert "in units of √V. Worst" in scaled
    assert "ln N / η + the sum of min(η H² / (2 √V), 2 H)" in scaled
    assert "XNAS clips no rewards here" in scaled
    for of_clipped in ("The bound, η L² t / 2", "in nats. Worst", "to -L to L"):
        assert of_clipped not in scaled


@pytest.mark.usefixtures("_blank")
def test_a_broken_bound_and_a_search_that_collapses_are_said(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", search_epochs=2, retrain_epochs=0, tested=False, controls=False)
    rows = search_rows(epochs=2)
    normal = rows[-1]["groups"]["normal"]
    normal["ledger"]["regret"][3] = 1e6
    for logs, flags in zip(normal["log_v"], normal["alive"], strict=True):
        logs[2], flags[2] = max(logs) + 1, True
    write_rows(folder, rows)
    page = read(write_report(folder))
    assert "the regret of 27 of 28 forecasters is within its bound" in page.text
    assert "Epoch 2: skip connections lead 100% of group normal's forecasters" in page.text


def test_a_torn_last_line_changes_nothing(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=1, tested=False, controls=False)
    before = write_report(folder).read_bytes()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "search_ep')
    assert write_report(folder).read_bytes() == before


HOSTILE = '<script>alert("1")</script> & $x_1$ "q" \x01'


def test_names_with_markup_in_them_stay_text(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run & <b>bold", search_epochs=1, retrain_epochs=1, controls=False)
    toml = CONFIG.replace('"fashion-mnist-small"', "'<img src=x onerror=alert(1)>&'")
    write(folder / "config.toml", toml)
    write_json(
        folder / "environment.json", {**ENVIRONMENT, "device_name": HOSTILE, "command": ["xnas", HOSTILE]}
    )
    rows = search_rows(epochs=2)
    for row in rows:
        for key in ("name", "group", "expert"):
            if key in row:
                row[key] = row[key].replace("normal", HOSTILE).replace("skip_connect", HOSTILE)
        if "experts" in row:
            row["experts"] = [name.replace("skip_connect", HOSTILE) for name in row["experts"]]
            row["edges"] = [HOSTILE + edge for edge in row["edges"]]
        if "groups" in row:
            row["groups"] = {name.replace("normal", HOSTILE): value for name, value in row["groups"].items()}
    write_rows(folder, rows)
    page = read(write_report(folder))
    assert not page.tags & {"script", "img", "b"}
    assert '<script>alert("1")</script> & $x_1$' in page.text
    assert "<img src=x onerror=alert(1)>&" in page.text
    assert (folder / "pictures" / "experts-group-1.svg").is_file()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.toml", "seed ="),
        ("environment.json", "{"),
        ("timing.json", '{"search": 3}'),
        ("genotype.json", "{}"),
        ("result.json", "[]"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, file: str, content: str) -> None:
    folder = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=0)
    write(folder / file, content)
    with pytest.raises(ValueError, match=re.escape(file)) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


@pytest.mark.usefixtures("_blank")
def test_a_control_without_a_result_is_named(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=0)
    (folder / "controls" / "random-302" / "result.json").unlink()
    text = read(write_report(folder)).text
    assert "Controls without a result yet: random-302." in text
    assert "n = 2" in text


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a run folder"):
        write_report(tmp_path / "nothing")


@pytest.mark.usefixtures("_blank")
def test_a_run_of_a_published_genotype_has_a_report_without_a_search(
    tmp_path: Path, genotype: Genotype
) -> None:
    folder = build_run(tmp_path / "run", search_epochs=0, controls=False, genotype=genotype)
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    write(folder / "metrics.jsonl", "".join(line for line in text if "retrain" in line))
    page = read(write_report(folder))
    assert "90.70 %" in page.text
    assert "has not ended" not in page.text


@pytest.fixture
def genotype() -> Genotype:
    from xnas.space.published import published_genotype

    return published_genotype("nasnet_a")


def test_the_report_imports_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, xnas.report.page; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
