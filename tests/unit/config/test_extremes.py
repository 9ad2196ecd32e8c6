"""From 8 x 8 to 512 x 512 pixels, grey or RGB, 2 to 1,000 classes: one step of a search, one of a retraining, a test.

The networks are tiny; what is tried is that every size fits through stems, cells, reductions, augmentation and norms.
"""

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from xnas import Config, SearchTrainer
from xnas.config.loading import parse_config
from xnas.data.images import DataSet, ImageSet
from xnas.space.published import published_genotype
from xnas.train.build import LARGE
from xnas.train.retrain import RetrainTrainer

CPU = torch.device("cpu")
SHAPES = st.tuples(st.sampled_from([1, 3]), st.integers(8, 48), st.integers(8, 48))
STEMS = ["auto", "auto-strided", "cifar", "strided", "imagenet"]


def images(shape: tuple[int, int, int], *, classes: int, count: int) -> DataSet:
    """At least two of every class for the training, one for the test."""

    def part(n: int, seed: int) -> ImageSet:
        generator = torch.Generator().manual_seed(seed)
        return ImageSet(
            images_NCHW=torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator),
            labels_N=torch.arange(n) % classes,
            classes=tuple(f"class {i}" for i in range(classes)),
        )

    return DataSet(name="extreme", train=part(max(2 * classes, count), 0), test=part(classes, 1))


def config(stem: str, *, data: str = "", kind: str = "darts") -> Config:
    nodes = "nodes = 1\nexperts = ['skip_connect', 'sep_conv_3x3', 'max_pool_3x3']"
    if kind == "nasbench201":
        nodes = "kind = 'nasbench201'\nexperts = ['skip_connect', 'nor_conv_3x3', 'avg_pool_3x3']\nnodes = 3"
    stack = f"channels = 2\ncells = 3\nstem = '{stem}'\n"
    return parse_config(
        f"[data]\npadding = 1\n{data}\n[space]\n{nodes}\n{stack}[search]\nepochs = 1\nbatch_size = 2\n"
        f"[retrain]\nepochs = 1\nbatch_size = 2\n{stack}",
        where="the tests",
    )


def one_step_each(settings: Config, data: DataSet) -> None:
    """A round of both, and the logits of a test image: all finite, one for every class."""
    search = SearchTrainer(settings, data, device=CPU)
    search.training_step(*next(search.epoch_batches(1)))
    retraining = RetrainTrainer(search.genotype(), settings, data, device=CPU)
    retraining.training_step(*next(retraining.epoch_batches(1)))
    with torch.no_grad():
        test = retraining.normalisation(data.test.pixels(torch.tensor([0])))
        logits = retraining.network.eval()(test)
    assert logits.shape == (1, data.num_classes)
    assert logits.isfinite().all()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=SHAPES,
    classes=st.integers(2, 12),
    stem=st.sampled_from(STEMS),
    crop=st.sampled_from(["pad", "resized"]),
    policy=st.sampled_from(["none", "cifar10", "svhn", "imagenet"]),
)
@example(shape=(1, 8, 8), classes=2, stem="imagenet", crop="resized", policy="imagenet")
@example(shape=(3, 9, 31), classes=3, stem="imagenet", crop="pad", policy="svhn")
def test_any_shape_goes_through_search_retraining_and_test(shape, classes, stem, crop, policy):
    settings = config(stem, data=f"crop = '{crop}'\npolicy = '{policy}'\ncutout = 3")
    one_step_each(settings, images(shape, classes=classes, count=8))


@pytest.mark.parametrize("kind", ["darts", "nasbench201"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, LARGE, LARGE + 1), (3, 511, 512)])
def test_the_smallest_and_the_largest_go_through_with_the_stem_of_their_size(kind, shape):
    one_step_each(config("auto", kind=kind), images(shape, classes=2, count=4))


def test_a_thousand_classes_go_through():
    one_step_each(config("auto"), images((3, 8, 8), classes=1000, count=0))


def test_the_published_cell_goes_through_at_8_pixels():
    settings = config("imagenet")
    retraining = RetrainTrainer(
        published_genotype("xnas"), settings, images((1, 8, 8), classes=2, count=4), device=CPU
    )
    retraining.training_step(*next(retraining.epoch_batches(1)))
    logits = retraining.network.eval()(torch.zeros(1, 1, 8, 8))
    assert logits.isfinite().all()
