"""Decoding stays within its budget of memory, whatever files claim or hide, by whichever command, however many read."""

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xnas.cli import main
from xnas.data.check import check_data
from xnas.data.files.decode import DecodeSpec, each, read_image
from xnas.data.files.decode_memory import DecodeMemory
from xnas.data.files.folder import read_folder
from xnas.export.predict import form_of, read_images

from ..helpers.hostile_images import write_hostile_images
from ..helpers.resource_limits import _forget_peak, _peak_bytes

SMALL = 1 / 32
"""GiB: 32 MiB, of which an image may take 16."""
SIDE = 1300
"""Pixels: 1.7 million take 16 MiB at 10 bytes each, so that some kinds are read and others are not."""
BESIDE = 45_000_000
"""Bytes for whatever is no decoding: threads, results, Pillow's own tables."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, long_faults: bool) -> Path:
    """train and test of two classes, all of hostile images but for a few."""
    root = tmp_path_factory.mktemp("hostile")
    write_hostile_images(root / "train/a", 9_000 if long_faults else SIDE)
    for place in ("train/b", "test/a", "test/b"):
        (root / place).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            noise = np.random.default_rng(hash(place) % 1000 + i).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(noise).save(root / place / f"{i}.png")
    return root


def uses(hostile: Path, *, gib: float) -> dict[str, Callable[[], object]]:
    """What decodes all of them."""
    form = DecodeSpec(height=32, width=32, scaled=True, colour=True, channels=3)
    paths = sorted(str(path) for path in (hostile / "train/a").iterdir())
    memory = DecodeMemory(gib)

    def search(workers: int | None) -> None:
        settings = {
            "image_size": 32,
            "test_fraction": 0.5,
            "seed": 0,
            "max_broken": 100,
            "decode_memory": gib,
        }
        data = read_folder(hostile, **settings, workers=workers)  # type: ignore[arg-type]
        for chunk in data.train.chunks():
            assert chunk.dtype == torch.uint8

    return {
        "check": lambda: check_data(str(hostile), decode_memory=gib),
        "predict": lambda: list(read_images(paths, form, decode_memory=gib)),
        "search": lambda: search(None),
        "search, from files": lambda: search(0),
        "crops": lambda: list(each(partial(read_image, form=form, key=3, memory=memory), paths)),
    }


@pytest.mark.parametrize("use", ["check", "predict", "search", "search, from files", "crops"])
def test_all_that_decodes_stays_within_the_budget_and_without_a_word_of_pillow(
    hostile: Path, use: str, long_faults: bool, record_property: Callable[[str, object], None]
) -> None:
    gib = 2.0 if long_faults else SMALL
    _forget_peak()
    before = _peak_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        uses(hostile, gib=gib)[use]()
    taken = _peak_bytes() - before
    record_property("figures", f"{use}: {taken / 2**20:,.0f} MiB of {gib * 2**10:,.0f}")
    assert taken < gib * 2**30 + BESIDE


def test_what_is_beyond_the_budget_is_one_line_with_the_size_and_the_remedy(
    hostile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(hostile), "--decode-memory", str(SMALL / 4), "--json"]) == 2
    found = {
        finding["title"]: finding["examples"] for finding in json.loads(capsys.readouterr().out)["findings"]
    }
    said = found["images that take more memory to decode than one may"]
    assert said[0].startswith("train/a/00-deep.png (its ")
    assert (
        "of memory to decode, which is more than an image may take, 4 MiB, half of --data.decode-memory"
        in said[0]
    )
    assert said[0].endswith("scale it down, or allow more)")
    with pytest.raises(
        ValueError, match=r"deep.png .*pixels .* of memory to decode, .*; replace them"
    ) as error:
        read_folder(hostile, image_size=32, test_fraction=0.5, seed=0, decode_memory=SMALL / 4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [None, 0, 1, 2])
def test_how_many_read_decides_nothing(said: list[str], tmp_path: Path, workers: int | None) -> None:
    """Images for a process's share, for the training process, and for nobody."""
    sides = {"small": 100, "middle": 300, "large": 420, "beyond": 700}
    for part in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            for i, (name, side) in enumerate(sides.items()):
                noise = np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8)
                Image.fromarray(noise).save(tmp_path / part / label / f"{name}.bmp")
    data = read_folder(
        tmp_path, image_size=32, test_fraction=0.5, seed=0, max_broken=4, decode_memory=4 / 2**10,
        workers=workers,
    )  # fmt: skip
    assert [Path(name).stem for name in data.train.names or ()] == ["large", "middle", "small"] * 2
    wanted = [
        read_image(name, DecodeSpec(height=32, width=32, scaled=True, colour=True, channels=3))
        for name in data.train.names or ()
    ]
    assert data.train.pixels(torch.arange(6)).equal(torch.from_numpy(np.stack(wanted)))
    assert sum("it is left out" in line for line in said) == 4


def test_a_network_that_says_it_was_trained_on_huge_images_is_asked_for_no_such(tmp_path: Path) -> None:
    class Boaster:
        image_channels, border, classes, image_shape = 3, 0.0, ("a", "b"), (3, 30_000, 30_000)

    with pytest.raises(ValueError, match=r"images of 30,000 x 30,000 pixels, .* with --image-size H W"):
        form_of(Boaster(), None)  # type: ignore[arg-type]
    assert form_of(Boaster(), (8, 8)).shape == (3, 8, 8)  # type: ignore[arg-type]


def test_no_more_processes_read_than_there_are_cores(
    said: list[str], image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xnas.data.files.folder.available_cores", lambda: 1)
    data = read_folder(image_folder, image_size=None, test_fraction=0.5, seed=0, workers=1024)
    assert data.train.files.workers.count == 1  # type: ignore[attr-defined]
    assert [line for line in said if "1,024 processes to read images are more" in line]


def test_images_of_more_pixels_than_a_network_is_trained_on_need_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xnas.data.files.folder.MOST_AREA", 1000)
    monkeypatch.setattr("xnas.data.check.folder.MOST_AREA", 1000)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(2):
            Image.new("L", (90, 20), i).save(tmp_path / label / f"{i}.png")
    settings = {"test_fraction": 0.5, "seed": 0}
    with pytest.raises(
        ValueError, match=r"20 x 90 pixels, more than a network is trained on; --data.image-size"
    ):
        read_folder(tmp_path, image_size=None, **settings)  # type: ignore[arg-type]
    assert check_data(str(tmp_path)).errors
    assert read_folder(tmp_path, image_size=8, **settings).image_shape == (1, 8, 8)  # type: ignore[arg-type]
