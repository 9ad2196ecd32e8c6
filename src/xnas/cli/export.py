"""xnas export: a trained network in the form in which somebody else takes it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from xnas.cli.args import parse, without_download
from xnas.config.schema import DataConfig
from xnas.runs.folder import read_run_config

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor

    from xnas.export.onnx import OnnxVersions
    from xnas.train.trained_network import TrainedNetwork


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """The network to export, its form and its location."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run with a trained network, also one of RUN/controls."""
    format: Literal["safetensors", "onnx", "torch-export", "timm", "hub"]
    """safetensors: a folder of model.safetensors and config.json, for xnas.load. timm, hub: the same with a model card,
    tried with timm (local-dir:) or huggingface_hub (from_pretrained). onnx: a file for onnxruntime and others.
    torch-export: a .pt2 file for torch alone; torch.export.load reads pickles, so load only files that you trust."""
    to: Path
    """The folder or file to be made."""
    normalisation: Literal["inside", "beside"] = "inside"
    """Of onnx and torch-export: inside, the file takes uint8 pixels; beside, it takes images that are normalised with
    the mean and std that its metadata name."""
    onnx_opset: int | None = None
    """Of onnx: the version of its operators, 18 or more; by default that of torch."""
    onnx_ir: int | None = None
    """Of onnx: the version of its file format, 8 or more, for readers that know no later; by default that of torch."""
    overwrite: bool = False
    """Replace what an earlier export has written there."""
    images: Path | None = None
    """An image or a folder of images to compare the outputs on, by default test images of the run."""
    data: DataConfig = field(default_factory=DataConfig)


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    description = (
        "Write the trained network of a run in another form. It is read back, and takes its place only if its outputs "
        "on real images are those of the network, to 1e-4."
    )
    arguments = parse(ExportArguments, argv, command="export", description=description)
    config = without_download(read_run_config(arguments.run))
    start = {"run": arguments.run, "format": arguments.format, "to": arguments.to, "data": config.data}
    arguments = parse(ExportArguments, argv, command="export", description=description, start=start)
    from xnas.export.export import about_network, check_packages, check_place, export
    from xnas.runs.folder import RunFolder, read_result
    from xnas.train.device import pick_device
    from xnas.train.trained_network import TrainedNetwork

    versions = _versions(arguments)
    check_place(arguments.to, arguments.format, overwrite=arguments.overwrite)
    check_packages(arguments.format)
    trained = TrainedNetwork.read(RunFolder(arguments.run), device=pick_device("cpu"))
    images_NCHW = _images(arguments, trained, seed=config.seed)
    channels, height, width = trained.image_shape or images_NCHW.shape[1:]
    about = about_network(trained, config, read_result(arguments.run), image_shape=(channels, height, width))
    found = export(
        trained,
        about,
        images_NCHW,
        form=arguments.format,
        path=arguments.to,
        name=arguments.to.name,
        normalise=arguments.normalisation == "inside",
        overwrite=arguments.overwrite,
        versions=versions,
    )
    sizes = "and parts of them" if found.any_size else f"of {height} x {width} pixels, the only size it takes"
    near = f"within {found.difference:.1e} of the network's" if found.difference else "the network's own"
    log.info(f"{arguments.format}: {arguments.to}, logits {near} on {found.images} images {sizes}")
    if found.rounding is not None:
        log.warning(
            f"that is more than 1e-4, as the network amplifies rounding: in float32 its own logits are "
            f"{found.rounding:.1e} from those in float64"
        )
    return 0


def _versions(arguments: ExportArguments) -> "OnnxVersions | None":
    if arguments.onnx_opset is None and arguments.onnx_ir is None:
        return None
    if arguments.format != "onnx":
        raise ValueError(f"--onnx-opset and --onnx-ir are for --format onnx; got --format {arguments.format}")
    from xnas.export.onnx import OnnxVersions

    return OnnxVersions(opset=arguments.onnx_opset, ir=arguments.onnx_ir)


def _images(arguments: ExportArguments, trained: "TrainedNetwork", *, seed: int) -> "Tensor":
    """Return a few real images, uint8 NCHW: those that are named, or the run's."""
    import torch

    from xnas.export.export import IMAGES
    from xnas.export.predict import form_of, some_images
    from xnas.train.context import check_images, open_data

    if arguments.images is not None:
        form = form_of(trained, None, remedy="leave --images out, and its test images are taken")
        return some_images([arguments.images], form, most=IMAGES)
    try:
        if arguments.data.source == read_run_config(arguments.run).data.source:  # else it is the user's own
            remedy = "say where it is now with --data FOLDER"
            check_images(arguments.data, of=arguments.run, remedy=remedy)
        test = open_data(arguments.data, seed=seed).test
    except ValueError as error:
        hint = "" if "--images" in str(error) else "; or give some images with --images"
        raise ValueError(f"{error}{hint}") from error
    return test.pixels(torch.arange(min(IMAGES, len(test))))
