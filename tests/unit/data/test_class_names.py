"""One identity of a class from its folder to the test of a network, whatever its name does to a terminal."""

import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xnas import Config, RunFolder, TrainedNetwork, build_network, published_genotype
from xnas.cli import main
from xnas.data.files.folder import read_folder
from xnas.data.images import DataSet, Normalisation
from xnas.export.export import about_network, export
from xnas.export.load import load
from xnas.io.text import told_apart
from xnas.train.build import network_spec, resolve_stems

NFC, NFD = "caf\u00e9", "cafe\u0301"
ACTING = ("a\x1b[31mred", "b\u202egnp", "c\nnew", NFC)


def write(root: Path, names: dict[str, list[str]]) -> Path:
    for part, classes in names.items():
        for number, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(2):
                noise = np.random.default_rng(10 * number + i + 100 * len(part)).integers(
                    0, 256, (16, 16, 3), np.uint8
                )
                Image.fromarray(noise).save(folder / f"{i}.png")
    return root


def read(root: Path) -> DataSet:
    return read_folder(root, image_size=None, test_fraction=0.5, seed=0)


def trained_on(data: DataSet, config: Config, path: Path) -> RunFolder:
    folder, genotype = RunFolder.at(path), published_genotype("darts_v2")
    config = resolve_stems(config, data.image_shape)
    folder.describe(config, {})
    (path / "checkpoints").mkdir()
    plan = network_spec(config.retrain, image_channels=3, num_classes=data.num_classes)
    TrainedNetwork(
        network=build_network(genotype, plan),
        genotype=genotype,
        classes=data.train.classes,
        normalisation=Normalisation(mean_C=torch.full((3,), 0.5), std_C=torch.full((3,), 0.2)),
        image_shape=data.image_shape,
    ).write(folder)
    return folder


def test_names_that_act_on_a_terminal_are_kept_as_they_are_and_shown_as_escapes(
    tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "images", {"train": [*ACTING], "test": [*ACTING]})
    data = read(root)
    assert data.train.classes == ACTING
    run = trained_on(data, tiny, tmp_path / "run").path
    trained = load(run)
    about = about_network(trained, tiny, None, image_shape=(3, 16, 16))
    export(trained, about, data.test.pixels(torch.arange(4)), form="hub", path=tmp_path / "out", name="n")
    assert load(tmp_path / "out").classes == trained.classes == ACTING
    assert main(["evaluate", str(run), "--device", "cpu", "--data", str(root)]) == 0
    for model in (run, tmp_path / "out"):
        assert main(["predict", str(model), str(root / "test"), "--top", "4"]) == 0
    assert main(["check", str(root)]) in (0, 2)
    printed = capsys.readouterr()
    assert not {"\x1b", "\u202e"} & {*printed.out, *printed.err, *(tmp_path / "out/README.md").read_text()}
    assert r"a\x1b[31mred" in printed.out
    assert r"c\x0anew" in printed.out
    assert NFC in printed.out


def test_two_ways_of_writing_an_accent_are_one_class(tiny: Config, tmp_path: Path) -> None:
    assert unicodedata.normalize("NFC", NFD) == NFC
    here = read(write(tmp_path / "here", {"train": [NFD, "tea"], "test": [NFC, "tea"]}))
    there = read(write(tmp_path / "there", {"train": [NFC, "tea"], "test": [NFD, "tea"]}))
    assert here.train.classes == here.test.classes == there.train.classes == (NFC, "tea")
    trained = load(trained_on(here, tiny, tmp_path / "run").path)
    assert trained.test(there.test, device=torch.device("cpu")).samples == 4


def test_two_folders_of_one_class_are_refused_by_a_run_and_by_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "images", {"train": [NFD, NFC, "tea"], "test": [NFC, "tea"]})
    with pytest.raises(
        ValueError, match=r"'cafe\\u0301' and 'caf\\xe9'; move the images of one into"
    ) as error:
        read(root)
    assert "\n" not in str(error.value)
    assert main(["check", str(root)]) == 2
    printed = capsys.readouterr().out
    assert "classes of the same name in two folders: 1" in printed
    assert r"'cafe\u0301'" in printed


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_refused_by_a_run_and_by_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"caf\xe9")
    root = write(tmp_path / "images", {"train": [name, "tea"], "test": [name, "tea"]})
    with pytest.raises(ValueError, match=r"has a name that is not UTF-8, b'caf\\xe9'; rename it"):
        read(root)
    assert main(["search", "--data", str(root), "--runs", str(tmp_path / "runs"), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    assert main(["check", str(root)]) == 2
    assert "classes whose names are not UTF-8: 2" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_files_whose_names_are_no_text_are_read_as_any(tmp_path: Path) -> None:
    root = write(tmp_path / "images", {"train": ["a", "b"], "test": ["a", "b"]})
    (root / "train/a/0.png").rename(root / "train/a" / os.fsdecode(b"\xe9.png"))
    held = read(root)
    settings = {"image_size": None, "test_fraction": 0.5, "seed": 0}
    for workers in (0, 1):
        streamed = read_folder(root, workers=workers, **settings)  # type: ignore[arg-type]
        assert streamed.train.pixels(torch.arange(4)).equal(held.train.pixels(torch.arange(4)))
        assert streamed.fingerprint() == held.fingerprint()


@pytest.mark.parametrize(
    ("one", "other"),
    [("scope", "sc\u043epe"), ("tea", "tea "), ("a b", "a\u00a0b"), ("tea", "te\u200ba"), ("a b", "a  b")],
)
def test_a_message_shows_in_what_names_that_look_alike_differ(tmp_path: Path, one: str, other: str) -> None:
    root = write(tmp_path / "images", {"train": [one, "x"], "test": [other, "x"]})
    with pytest.raises(ValueError, match="missing from the") as error:
        read(root)
    said = str(error.value)
    assert told_apart(one) != told_apart(other)
    assert ascii(other) in said
    assert told_apart(one) in said
    assert told_apart("plain name") == "plain name"
