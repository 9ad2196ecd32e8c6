"""What is left to the images' size, and that a run's file says what was chosen."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from xnas import Config, RunFolder, SearchTrainer, TrainedNetwork
from xnas.config.diff import differences
from xnas.config.loading import parse_config, preset_names, read_preset
from xnas.data.images import DataSet, ImageSet
from xnas.space.published import published_genotype
from xnas.train.build import check_memory, resolve_stems, stem_for
from xnas.train.retrain import fit_retrain
from xnas.train.search import fit_search

CPU = torch.device("cpu")


def large_images(side: int) -> DataSet:
    def part(seed: int) -> ImageSet:
        pixels = torch.randint(0, 256, (4, 1, side, side), generator=torch.Generator().manual_seed(seed))
        return ImageSet(images_NCHW=pixels.to(torch.uint8), labels_N=torch.arange(4) % 2, classes=("a", "b"))

    return DataSet(name="large", train=part(0), test=part(1))


@pytest.mark.parametrize(
    ("shape", "kind", "stem"),
    [
        ((3, 32, 32), "darts", "cifar"),
        ((3, 95, 300), "darts", "cifar"),
        ((1, 96, 96), "darts", "imagenet"),
        ((3, 512, 512), "darts", "imagenet"),
        ((3, 64, 64), "nasbench201", "cifar"),
        ((3, 224, 224), "nasbench201", "strided"),
    ],
)
def test_the_stem_follows_the_shorter_side(shape, kind, stem):
    assert stem_for("auto", shape, kind=kind) == stem
    assert stem_for("auto-strided", shape, kind=kind) == (stem if min(shape[1:]) >= 96 else "strided")


def test_the_quick_preset_takes_photographs_by_the_stem_of_photographs():
    for shape, stem in (((1, 28, 28), "strided"), ((3, 224, 224), "imagenet")):
        quick = resolve_stems(read_preset("quick"), shape)
        assert (quick.space.stem, quick.retrain.stem) == (stem, stem)


@pytest.mark.parametrize("stem", ["cifar", "strided", "imagenet"])
def test_a_stem_that_is_named_stays(stem):
    assert stem_for(stem, (3, 32, 32)) == stem
    assert stem_for(stem, (3, 224, 224)) == stem


def test_what_is_left_to_the_size_is_no_difference_and_what_is_named_is_one():
    before = parse_config('[retrain]\nstem = "cifar"\n', where="a run")
    sections = ("space", "retrain")
    assert differences(before, Config(), sections=sections) == []
    other = parse_config('[retrain]\nstem = "strided"\n', where="a run")
    assert differences(before, other, sections=sections) == ["retrain.stem was cifar, is strided"]


@pytest.mark.parametrize(("side", "stem"), [(16, "cifar"), (96, "imagenet")])
def test_a_run_file_says_which_stem_was_chosen(side: int, stem: str, tiny: Config, tmp_path: Path) -> None:
    data = large_images(side)
    settings = dataclasses.replace(
        tiny,
        search=dataclasses.replace(tiny.search, epochs=1, batch_size=2),
        retrain=dataclasses.replace(tiny.retrain, epochs=1, batch_size=2),
    )
    folder = RunFolder.at(tmp_path / "run")
    genotype = fit_search(SearchTrainer(settings, data, device=CPU), folder=folder)
    fit_retrain(genotype, settings, data, name="found", device=CPU, folder=folder)
    assert folder.config().space.stem == stem
    assert folder.config() == resolve_stems(settings, data.image_shape)
    assert TrainedNetwork.read(folder, device=CPU).network.spec.stem == stem
    folder.check_same(settings, sections=("space", "retrain"))


def test_an_architecture_is_retrained_with_the_stem_of_its_images(tiny: Config, tmp_path: Path) -> None:
    settings = dataclasses.replace(tiny, retrain=dataclasses.replace(tiny.retrain, epochs=1, batch_size=2))
    folder = RunFolder.at(tmp_path / "run")
    fit_retrain(
        published_genotype("darts_v2"), settings, large_images(100), name="d", device=CPU, folder=folder
    )
    assert folder.config().retrain.stem == "imagenet"


def test_normalisation_is_measured_on_what_trains_and_stands_in_the_run_folder(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    settings = dataclasses.replace(
        tiny,
        search=dataclasses.replace(tiny.search, epochs=1),
        retrain=dataclasses.replace(tiny.retrain, epochs=1),
    )
    folder = RunFolder.at(tmp_path / "run")
    trainer = SearchTrainer(settings, data, device=CPU)
    genotype = fit_search(trainer, folder=folder)
    fit_retrain(genotype, settings, data, name="found", device=CPU, folder=folder)
    rows = {
        row["kind"]: row for row in map(json.loads, (folder.path / "metrics.jsonl").read_text().splitlines())
    }
    measured = {"search_images": trainer.parts.train, "retrain_images": data.train}
    assert len(trainer.parts.train) == 30
    for kind, images in measured.items():
        pixels_NCHW = torch.cat(list(images.chunks())).double() / 255
        assert rows[kind]["mean"] == pytest.approx(pixels_NCHW.mean((0, 2, 3)).tolist(), rel=1e-6)
        assert rows[kind]["std"] == pytest.approx(pixels_NCHW.std((0, 2, 3), correction=0).tolist(), rel=1e-6)
    assert rows["search_images"]["mean"] != rows["retrain_images"]["mean"]
    trained = TrainedNetwork.read(folder, device=CPU).normalisation
    assert trained.mean_C.tolist() == rows["retrain_images"]["mean"]


@pytest.mark.parametrize("phase", ["search", "retrain"])
def test_batches_far_beyond_the_memory_are_refused_before_anything_is_done(phase: str) -> None:
    config, gib = read_preset("full"), 2**30
    with pytest.raises(
        ValueError, match=f"GiB of memory in the {phase}, and there are 4; .*--{phase}.batch-size"
    ):
        check_memory(config, (3, 1024, 1024), phases=(phase,), has=4 * gib)
    check_memory(config, (3, 1024, 1024), phases=(), has=4 * gib)


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_is_refused_the_memory_of_a_laptop(name: str) -> None:
    check_memory(read_preset(name), (3, 32, 32), phases=("search", "retrain"), has=8 * 2**30)


def test_what_saves_memory_is_taken_into_account() -> None:
    config = read_preset("full")
    more = dataclasses.replace(config, activation_checkpointing=True)
    has = 2 * 2**30
    with pytest.raises(ValueError, match="in the search"):
        check_memory(config, (3, 90, 90), phases=("search",), has=has)
    check_memory(more, (3, 90, 90), phases=("search",), has=has)
