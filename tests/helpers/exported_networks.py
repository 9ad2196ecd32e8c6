"""Networks to export, of every kind that there is: nobody has trained them, but their norms have seen something."""

import hashlib
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from xnas import Genotype, Nasbench201Genotype, NetworkSpec, TrainedNetwork, build_network, published_genotype
from xnas.config.loading import parse_config
from xnas.data.images import Normalisation
from xnas.export.export import about_network, export
from xnas.export.metadata import About
from xnas.export.sums import IN_JSON, sealed
from xnas.runs.folder import Result

SHORT = Nasbench201Genotype(
    ("nor_conv_3x3", "avg_pool_3x3", "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
)
"""With every operation."""


@dataclass(frozen=True)
class Case:
    """A network's kind."""

    genotype: Genotype | Nasbench201Genotype
    plan: NetworkSpec
    size: int
    """Height and width of its images."""


CASES = {
    "RGB, DARTS": Case(
        published_genotype("darts_v2"),
        NetworkSpec(image_channels=3, num_classes=3, channels=4, cells=2, reductions=1),
        12,
    ),
    "grey, NAS-Bench-201": Case(
        SHORT, NetworkSpec(image_channels=1, num_classes=4, channels=4, cells=2, reductions=1), 13
    ),
    "RGB, ImageNet": Case(
        published_genotype("xnas"),
        NetworkSpec(
            image_channels=3,
            num_classes=5,
            channels=4,
            cells=2,
            reductions=1,
            stem="imagenet",
            stem_channels=6,
            squeeze_excite=True,
        ),
        24,
    ),
}
RESULT = Result(
    name="found",
    test_accuracy=0.875,
    test_loss=0.5,
    test_samples=200,
    parameters=4321,
    multiply_adds=1_200_000,
    epochs=2,
    seed=7,
)


def trained_network(case: Case) -> TrainedNetwork:
    torch.manual_seed(0)
    network = build_network(case.genotype, case.plan).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as `load` has it
    channels = case.plan.image_channels
    return TrainedNetwork(
        network=network,
        genotype=case.genotype,
        classes=tuple("abcdefgh"[: case.plan.num_classes]),
        normalisation=Normalisation(
            mean_C=torch.tensor([0.5, 0.4, 0.3][:channels]), std_C=torch.tensor([0.25, 0.3, 0.2][:channels])
        ),
        image_shape=(channels, case.size, case.size),
    )


def about_of(trained: TrainedNetwork) -> About:
    assert trained.image_shape is not None
    config = parse_config('[data]\nsource = "pictures/of things"', where="the tests")
    return about_network(trained, config, RESULT, image_shape=trained.image_shape)


def pixels(case: Case, count: int, *, height: int | None = None, width: int | None = None) -> torch.Tensor:
    shape = (count, case.plan.image_channels, height or case.size, width or case.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def logits(trained: TrainedNetwork, images_NCHW: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return trained.network.eval()(trained.normalisation(images_NCHW))  # type: ignore[no-any-return]


def reseal(folder: Path) -> None:
    """Gives the exported folder's description the sums of its files, as a stranger would who has changed some."""
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    text = (folder / "config.json").read_bytes()
    text = re.sub(rb'("model\.safetensors": ")[0-9a-f]{64}', rb"\g<1>" + weights.encode(), text)
    with suppress(ValueError):  # the place of the sum is damaged too
        text = sealed(text, IN_JSON)
    (folder / "config.json").write_bytes(text)


def write_exported(folder: Path, case: Case) -> Path:
    from xnas.export.load import exported_files

    trained = trained_network(case)
    folder.mkdir(parents=True)
    for name, content in exported_files(about_of(trained), trained.network).items():
        (folder / name).write_bytes(content)
    return folder


@cache
def onnx_content(name: str, *, normalise: bool) -> bytes:
    """Return an exported network as bytes; an export takes seconds, so that tests of one process share it."""
    case = CASES[name]
    trained = trained_network(case)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(
            trained, about_of(trained), pixels(case, 3), form="onnx", path=path, name="n", normalise=normalise
        )
        return path.read_bytes()
