"""docs/recipe.md: its tables are what the presets and the counts give, its picture is what the script draws."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from xnas.config.loading import preset_names, read_preset
from xnas.space.darts.auxiliary import AuxiliaryTower
from xnas.space.darts.network import Network
from xnas.space.published import published_genotype, published_names
from xnas.train.build import network_spec

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
COLUMNS = ("xnas-small", "darts-recipe", "imagenet-mobile")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_recipe", ROOT / "scripts" / "draw_recipe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_settings_has_the_values_of_the_presets() -> None:
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| .+? \| (\S+) \| (\S+) \| (\S+) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 21
    for section, key, *values in rows:
        for preset, value in zip(COLUMNS, values, strict=True):
            assert str(getattr(getattr(read_preset(preset), section), key)).lower() == value, (key, preset)


def test_the_table_of_settings_leaves_out_none_of_the_recipe() -> None:
    text = (ROOT / "src" / "xnas" / "config" / "presets" / "xnas-small.toml").read_text(encoding="utf-8")
    assert all(f"`retrain.{key}`" in PAGE for key in tomllib.loads(text)["retrain"])


def test_the_table_of_cells_is_what_is_counted(script: ModuleType) -> None:
    table = script.cells_table()
    assert table in PAGE
    assert [line.split("`")[1] for line in table.splitlines()[2:]] == list(published_names())


def test_the_page_names_every_preset_of_the_paper_and_no_other() -> None:
    named = set(re.findall(r"`((?:xnas|paper|imagenet|darts|transfer)-[a-z0-9-]+)`", PAGE))
    assert named <= set(preset_names())
    missing = {
        name for name in preset_names() if name not in PAGE and name.removeprefix("transfer") not in PAGE
    }
    assert missing <= {"quick", "full", "nasbench201"}


def test_the_size_of_the_tower_is_as_said() -> None:
    plan = network_spec(read_preset("xnas-small").retrain, image_channels=3, num_classes=10)
    tower = AuxiliaryTower(Network(published_genotype("xnas"), plan))
    assert f"{sum(weight.numel() for weight in tower.parameters()):,} parameters" in PAGE


def test_the_picture_shows_the_rates_that_training_takes(script: ModuleType, tmp_path: Path) -> None:
    assert f"](pictures/{script.PICTURE})" in PAGE
    assert (ROOT / "docs" / "pictures" / script.PICTURE).is_file()
    powers, presets = script.draw().axes
    assert [len(line.get_xdata()) for line in presets.get_lines()] == [1500, 600]
    small = presets.get_lines()[0].get_ydata()
    assert [small[300 * cycle] for cycle in range(5)] == pytest.approx(
        [0.025, 0.0125, 0.00625, 0.003125, 0.0015625]
    )
    # Halfway 1 / (sqrt(p) + 1), line by line.
    middles = [line.get_ydata()[100] for line in powers.get_lines()]
    assert middles == pytest.approx([1 / (p**0.5 + 1) for p in script.POWERS])
