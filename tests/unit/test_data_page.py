"""docs/data.md: it names the data sets that are known, and its picture is what the script draws."""

import importlib.util
import re
from pathlib import Path

from xnas.data.names import DATA_SETS
from xnas.data.sets.fashion_mnist import read_shipped
from xnas.report.figures.style import png_bytes
from xnas.train.build import LARGE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_table_names_every_data_set_and_no_other() -> None:
    named = re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE, flags=re.MULTILINE)
    assert sorted(named) == sorted(DATA_SETS)


def test_the_size_from_which_images_are_large_is_as_said() -> None:
    assert f"below {LARGE} pixels of the shorter side" in PAGE


def test_the_picture_has_a_row_for_every_piece() -> None:
    spec = importlib.util.spec_from_file_location("draw", ROOT / "scripts" / "draw_augmentation.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert f"](pictures/{script.OUT.name})" in PAGE
    data = read_shipped()
    rows = {name: script.row_of(data, augmentation) for name, augmentation in script.ROWS.items()}
    plain = rows.pop("as it is")
    first = data.train.pixels(data.train.labels_N[:0].new_tensor([0]))[0, 0].numpy()
    assert (plain[:, :28, 0] == first).all()
    assert all((row != plain).any() for row in rows.values())
    assert (rows["flip"][:, :28, 0] == first).all() or (rows["flip"][:, :28, 0] == first[:, ::-1]).all()
    figure = script.draw(data)
    assert len(figure.axes) == len(script.ROWS)
    assert png_bytes(figure).startswith(b"\x89PNG")
