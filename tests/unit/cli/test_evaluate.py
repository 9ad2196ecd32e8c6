"""A trained network on other images: brought to what it was trained on, or it is said that they are not."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from xnas import Config, ImageSet, RunFolder, TrainedNetwork, build_network, published_genotype
from xnas.cli import main
from xnas.data.images import Normalisation
from xnas.export.predict import form_of, image_files, read_images
from xnas.train import evaluate
from xnas.train.build import network_spec, resolve_stems

CPU = torch.device("cpu")
CLASSES = ("blue", "green", "red")


def run_folder(config: Config, path: Path, *, border: float = 0.0, height: int = 16) -> RunFolder:
    """With an untrained network, for RGB images that are 16 pixels wide."""
    folder, genotype = RunFolder.at(path), published_genotype("darts_v2")
    config = resolve_stems(config, (3, height, 16))
    folder.describe(config, {})
    (path / "checkpoints").mkdir()
    torch.manual_seed(0)
    TrainedNetwork(
        network=build_network(genotype, network_spec(config.retrain, image_channels=3, num_classes=3)),
        genotype=genotype,
        classes=CLASSES,
        normalisation=Normalisation(mean_C=torch.full((3,), 0.5), std_C=torch.full((3,), 0.2)),
        image_shape=(3, height, 16),
        border=border,
    ).write(folder)
    return folder


def grey_folder(root: Path) -> Path:
    """train/CLASS/*.png and test/CLASS/*.png of 20 x 24 pixels, all of them grey."""
    torch.manual_seed(1)
    for place in (root / part / name for part in ("train", "test") for name in CLASSES):
        place.mkdir(parents=True)
        for i in range(4):
            pixels_HW = torch.randint(256, (20, 24), dtype=torch.uint8).numpy()
            Image.fromarray(pixels_HW).save(place / f"{i}.png")
    return root


@pytest.mark.parametrize("border", [0.0, 1 / 16])
@pytest.mark.parametrize("files", [[], ["--data.workers", "0"]], ids=["in memory", "in files"])
def test_other_images_are_tested_at_the_size_cut_and_channels_at_which_they_are_predicted(
    files: list[str], border: float, tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, images = run_folder(tiny, tmp_path / "run", border=border), grey_folder(tmp_path / "grey")
    trained = TrainedNetwork.read(folder, device=CPU)
    paths = image_files([images / "test"])
    pixels_NCHW = torch.stack(
        [
            pixels
            for _, pixels in read_images(paths, form_of(trained, None))
            if isinstance(pixels, torch.Tensor)
        ]
    )
    labels_N = torch.arange(3).repeat_interleave(4)
    likely_ND = trained.predict(pixels_NCHW)
    loss = -likely_ND[torch.arange(12), labels_N].log().mean()
    assert main(["evaluate", str(folder.path), "--data", str(images), *files]) == 0
    said = capsys.readouterr().out
    assert f", loss {loss:.4f}, on 12 images" in said
    assert "16 x 16, 1 channel" in said
    assert "warning" not in said


@pytest.mark.parametrize(
    ("height", "size", "said"),
    [
        (
            16,
            ["--data.image-size", "24"],
            "16 x 16 pixels, and these have 24 x 24; --data.image-size 16 brings",
        ),
        (12, [], "12 x 16 pixels, and these have 20 x 24\n"),
    ],
)
def test_images_that_stay_of_another_size_are_warned_of(
    height: int,
    size: list[str],
    said: str,
    tiny: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = run_folder(tiny, tmp_path / "run", height=height)
    assert main(["evaluate", str(folder.path), "--data", str(grey_folder(tmp_path / "grey")), *size]) == 0
    assert f"warning: the network was trained on images of {said}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("height", "width", "number"),
    [(8, 8, 250), (32, 32, 250), (64, 64, 250), (96, 96, 111), (224, 224, 20), (4000, 4000, 1)],
)
def test_large_images_are_tested_fewer_at_once(height: int, width: int, number: int) -> None:
    assert evaluate.test_batch_size(height, width) == number


def test_memory_and_not_the_result_depends_on_how_many_are_tested_at_once(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = TrainedNetwork.read(run_folder(tiny, tmp_path / "run"), device=CPU)
    images = ImageSet(
        images_NCHW=torch.randint(256, (10, 3, 16, 16), dtype=torch.uint8),
        labels_N=torch.arange(10) % 3,
        classes=CLASSES,
    )
    sizes: list[int] = []
    trained.network.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    results = [(trained.test(images, device=CPU), trained.predict(images.images_NCHW))]
    monkeypatch.setattr(evaluate, "BATCH_PIXELS", 3 * 16 * 16)
    results += [(trained.test(images, device=CPU), trained.predict(images.images_NCHW))]
    assert sizes == [10, 10, *[3, 3, 3, 1] * 2]
    (first, likely_ND), (again, as_likely_ND) = results
    assert (again.accuracy, again.samples) == (first.accuracy, first.samples)
    assert again.loss == pytest.approx(first.loss, abs=1e-6)
    assert torch.allclose(as_likely_ND, likely_ND, atol=1e-6)
