"""Data sets by name or path."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xnas.config.schema import DataConfig
from xnas.data.check import check_data
from xnas.data.images import DataSet
from xnas.data.names import DATA_SETS, FOLDER_SETS
from xnas.data.sets import fashion_mnist, known_folders
from xnas.data.sets.registry import load_data


@pytest.mark.usefixtures("silent")
def test_the_default_of_the_settings_is_shipped_and_loads_without_a_word():
    data = load_data(DataConfig().source)
    assert data.name == DataConfig().source
    assert (len(data.train), len(data.test), data.image_shape) == (10_000, 2_000, (1, 28, 28))


def test_a_named_set_can_be_brought_to_another_size():
    data = load_data("fashion-mnist-small", image_size=8)
    assert data.image_shape == (1, 8, 8)
    assert len(data.test) == 2000
    with pytest.raises(ValueError, match=r"data.image_size must be at least 8; got 4"):
        load_data("fashion-mnist-small", image_size=4)


def test_a_program_may_give_numbers_of_numpy_and_torch(image_folder: Path) -> None:
    def load(**given: Any) -> DataSet:
        return load_data(str(image_folder / "train"), **given)

    plain = load(image_size=12, seed=3, test_fraction=0.5)
    for kind in (np.int64, np.array, torch.tensor):
        found = load(image_size=kind(12), seed=kind(3), test_fraction=np.float32(0.5), max_broken=kind(0))
        assert found.fingerprint() == plain.fingerprint()
    assert load_data(image_folder).image_shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image_size": 8.5}, "image_size must be a whole number; got 8.5"),
        ({"image_size": "8"}, "image_size must be a whole number; got '8'"),
        ({"workers": True}, "workers must be a whole number; got True"),
        ({"test_fraction": "0.5"}, "test_fraction must be a number; got '0.5'"),
        ({"source": None}, "source must be the name of a data set or a folder of images; got None"),
        (
            {"source": DataConfig()},
            "source must be the name of a data set or a folder of images; got DataConfig",
        ),
    ],
)
def test_what_a_program_gives_of_another_type_is_named(
    given: dict[str, Any], said: str, image_folder: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        load_data(**{"source": image_folder, **given})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "cifar",
            r"unknown data set 'cifar'; did you mean 'cifar10'\? Known: .*; or give the path of a folder",
        ),
        (
            "zebra",
            r"unknown data set 'zebra'\. Known: fashion-mnist-small, fashion-mnist, cifar10, .*, freiburg; or give",
        ),
        ("", r"unknown data set ''\. Known"),
        ("./zebra", r"the folder of images zebra does not exist"),
        ("zebra/", r"the folder of images zebra does not exist"),
    ],
)
def test_an_unknown_source_is_answered_with_what_there_is(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_data(source)


def test_a_folder_is_read_by_its_plain_name(tmp_path, monkeypatch):
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 3).save(tmp_path / "pets" / name)
    monkeypatch.chdir(tmp_path)
    data = load_data("pets", test_fraction=0.5)
    assert (data.name, len(data.train), len(data.test)) == ("pets", 2, 2)


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist", "svhn", "freiburg"])
def test_the_root_of_a_named_set_may_begin_with_the_home_folder(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    for use in (load_data, check_data):
        with pytest.raises(ValueError, match=rf"{name}: there is no .* in {tmp_path}/sets"):
            use(name, root=Path("~/sets"))


def test_the_home_of_nobody_is_answered_in_one_line():
    with pytest.raises(
        ValueError, match=r"cannot find the home that ~nobody-of-that-name/sets begins with: .*in full"
    ):
        load_data("cifar10", root=Path("~nobody-of-that-name/sets"))


def test_the_settings_explain_every_name_and_no_other():
    source = inspect.getsource(DataConfig)
    explained = source[source.index("    source:") : source.index("    root:")].split('"""')[1]
    listed = explained[explained.index("(") + 1 : explained.index(")")].replace(" is shipped;", ",")
    assert [name.strip() for name in listed.split(",")] == list(DATA_SETS)
    assert tuple(known_folders.FOLDER_SETS) == FOLDER_SETS
