"""The classes of image files: read as in training, in order, broken ones named."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xnas import NetworkSpec, build_network, load, published_genotype
from xnas.export.load import exported_files
from xnas.export.predict import (
    MOST_FEATURES,
    form_of,
    image_files,
    open_classifier,
    predict_files,
    some_images,
)
from xnas.space.names import Stem

from ...helpers.exported_networks import CASES, Case, about_of, pixels, trained_network, write_exported

RGB, GREY = CASES["RGB, DARTS"], CASES["grey, NAS-Bench-201"]


def write_images(folder: Path, images_NCHW: torch.Tensor) -> list[str]:
    folder.mkdir(parents=True)
    paths = []
    for i, image in enumerate(images_NCHW):
        pixels_HWC = image.permute(1, 2, 0).numpy()
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels_HWC.squeeze(-1) if pixels_HWC.shape[2] == 1 else pixels_HWC).save(paths[-1])
    return paths


@pytest.mark.parametrize("case", [RGB, GREY])
def test_images_of_the_networks_size_are_seen_as_they_are(case: Case, tmp_path: Path) -> None:
    images = pixels(case, 5)
    paths = write_images(tmp_path / "images", images)
    classifier = load(write_exported(tmp_path / "model", case))
    found = list(predict_files(classifier, paths, form_of(classifier, None), top=2))
    values_NK, places_NK = classifier.predict(images).topk(2)
    assert [item.path for item in found] == paths
    assert [item.classes for item in found] == [
        tuple(classifier.classes[place] for place in row) for row in places_NK.tolist()
    ]
    assert np.allclose([item.probabilities for item in found], values_NK.numpy(), atol=1e-6)


def test_hidden_files_of_a_folder_are_passed_over(tmp_path: Path) -> None:
    write_images(tmp_path / "images", pixels(RGB, 2))
    (tmp_path / "images" / "._0.png").write_text("of the Finder")
    (tmp_path / "images" / ".cache").mkdir()
    (tmp_path / "images" / ".cache" / "1.png").write_text("of a notebook")
    assert [Path(path).name for path in image_files([tmp_path / "images"])] == ["0.png", "1.png"]


def test_other_sizes_and_colours_are_brought_to_those_of_the_training(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("grey.png", "large.jpg")]
    Image.new("L", (12, 12), 90).save(paths[0])
    Image.new("RGB", (40, 30), (90, 90, 90)).save(paths[1])
    form = form_of(trained_network(RGB), None)
    images = some_images([Path(path) for path in paths], form, most=9)
    assert images.shape == (2, 3, 12, 12)
    assert (images == 90).all()
    assert form_of(trained_network(RGB), (20, 30)).shape == (3, 20, 30)
    assert form_of(trained_network(GREY), None).shape == (1, 13, 13)


def test_what_was_cut_off_for_the_test_is_cut_off_again(tmp_path: Path) -> None:
    framed = Image.new("RGB", (32, 32), "black")
    framed.paste(Image.new("RGB", (28, 28), (90, 90, 90)), (2, 2))
    framed.save(tmp_path / "framed.png")
    trained = dataclasses.replace(trained_network(RGB), border=1 / 16)
    cut, whole = (
        some_images([tmp_path / "framed.png"], form_of(network, None), most=1)
        for network in (trained, trained_network(RGB))
    )
    assert cut.min() > 60 > 30 > whole.min()
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in exported_files(about_of(trained), trained.network).items():
        (folder / name).write_bytes(content)
    assert load(folder).border == 1 / 16


def test_a_broken_image_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "images", pixels(RGB, 3))
    Path(paths[1]).write_text("no image")
    classifier = trained_network(RGB)
    found = list(predict_files(classifier, paths, form_of(classifier, None), top=9))
    assert [item.broken for item in found] == [None, "it is no image", None]
    assert [len(item.classes) for item in found] == [3, 0, 3]
    with pytest.raises(ValueError, match=r"1\.png cannot be read as an image: it is no image; take it out"):
        some_images([Path(path) for path in paths], form_of(classifier, None), most=3)


def test_folders_stand_for_the_images_in_and_below_them(tmp_path: Path) -> None:
    below = write_images(tmp_path / "images" / "below", pixels(RGB, 2))
    (tmp_path / "images" / "notes.txt").write_text("")
    (tmp_path / "odd.xyz").write_text("")
    (tmp_path / "empty").mkdir()
    assert image_files([tmp_path / "images", tmp_path / "odd.xyz"]) == [*below, str(tmp_path / "odd.xyz")]
    with pytest.raises(ValueError, match=r"empty has no images; they end in \."):
        image_files([tmp_path / "empty"])
    with pytest.raises(ValueError, match="nowhere does not exist; give images or folders of images"):
        image_files([tmp_path / "nowhere"])


def test_what_files_cannot_give_is_named() -> None:
    trained = trained_network(RGB)
    with pytest.raises(ValueError, match="does not say the size of its images; give the size that you want"):
        form_of(dataclasses.replace(trained, image_shape=None), None)
    assert form_of(dataclasses.replace(trained, image_shape=None), (8, 9)).shape == (3, 8, 9)
    two = dataclasses.replace(
        trained,
        image_shape=None,
        normalisation=dataclasses.replace(trained.normalisation, mean_C=torch.zeros(2), std_C=torch.ones(2)),
    )
    with pytest.raises(ValueError, match="takes images of 2 channels; files have 1 or 3"):
        form_of(two, (8, 8))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the ONNX file .*none\.onnx: No such file"):
        open_classifier(tmp_path / "none.onnx", device="cpu")
    with pytest.raises(ValueError, match="none is no folder"):
        open_classifier(tmp_path / "none", device="cpu")


def test_a_program_of_torch_export_is_not_opened_and_the_way_round_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=r"model\.pt2 is a program for torch\.export\.load.*export that as onnx$"
    ):
        open_classifier(tmp_path / "model.pt2", device="cpu")


def test_thumbnails_that_systems_put_beside_images_are_none_of_these(tmp_path: Path) -> None:
    mine = write_images(tmp_path / "images", pixels(RGB, 2))
    for name in ("@eaDir/0.png", "__MACOSX", ".thumbnails", "below/@EADIR"):
        write_images(tmp_path / "images" / name, pixels(RGB, 1))
    assert image_files([tmp_path / "images"]) == [*mine]


@pytest.mark.parametrize("stem", ["cifar", "strided", "imagenet"])
def test_no_layer_that_a_size_is_bounded_by_is_larger_than_it_is_taken_for(stem: Stem) -> None:
    plan = NetworkSpec(image_channels=3, num_classes=3, channels=6, cells=4, reductions=1, stem=stem)
    sizes: list[float] = []
    with torch.device("meta"):
        network = build_network(published_genotype("darts_v2"), plan).eval()
        for module in (*network.stem.modules(), *network.cells):  # type: ignore[union-attr, misc]
            module.register_forward_hook(
                lambda _, __, out: sizes.append((out[0] if isinstance(out, tuple) else out).numel() / 64**2)
            )
        network(torch.zeros(1, 3, 64, 64))
    assert max(sizes) <= plan.features_a_pixel <= 2 * max(sizes)


def test_a_size_that_asks_for_more_memory_than_a_training_does_must_be_given() -> None:
    trained = trained_network(RGB)
    trained.network.spec = dataclasses.replace(RGB.plan, channels=256)  # 1024 numbers a pixel
    side = int((MOST_FEATURES / 1024) ** 0.5)
    assert form_of(dataclasses.replace(trained, image_shape=(3, side, side)), None).height == side
    large = dataclasses.replace(trained, image_shape=(3, 2 * side, side))
    with pytest.raises(ValueError, match=r"much memory and time; give the size that you want with"):
        form_of(large, None)
    with pytest.raises(ValueError, match=r"much memory and time; leave --images out$"):
        form_of(large, None, remedy="leave --images out")
    assert form_of(large, (2 * side, side)).height == 2 * side


def test_an_image_whose_output_is_not_finite_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    images = pixels(RGB, 3)
    images[1] = 255
    paths = write_images(tmp_path / "images", images)
    trained = trained_network(RGB)
    network = trained.network
    spoilt = dataclasses.replace(trained, network=NanOfWhite(network, trained.normalisation(images[1:2])))
    found = list(predict_files(spoilt, paths, form_of(trained, None), top=2))
    assert [item.not_finite for item in found] == [False, True, False]
    assert [len(item.classes) for item in found] == [2, 0, 2]


class NanOfWhite(torch.nn.Module):
    """A network that is at a loss before one image."""

    def __init__(self, network: torch.nn.Module, image: torch.Tensor) -> None:
        super().__init__()
        self.network, self.image = network, image

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images)
        same = (images == self.image).flatten(1).all(1, keepdim=True)
        return logits.masked_fill(same & (torch.arange(logits.shape[1]) == 0), -torch.inf)
