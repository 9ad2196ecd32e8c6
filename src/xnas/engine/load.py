"""Bringing a trained network back from wherever it is: a run folder, or a folder that `xnas export` has written."""

import os
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from xnas.data.images import Normalisation
from xnas.engine.bounds import MOST_CHANNELS, between, check_stack
from xnas.engine.config import CONFIG
from xnas.engine.evaluate import TrainedNetwork, bring_back
from xnas.engine.run_folder import RunFolder
from xnas.engine.runtime import pick_device
from xnas.engine.tensor_file import read_tensors
from xnas.report.export.about import About
from xnas.report.fields import read_object
from xnas.space.home import expanded
from xnas.space.regular_file import is_there, resolved
from xnas.space.stack import StackPlan

ABOUT, WEIGHTS = "config.json", "model.safetensors"
"""The files of an exported network."""

MOST_CLASSES = 100_000
MOST_ABOUT = 20_000_000
"""Bytes of a description, in which each class is named twice."""


def load(folder: str | Path, *, device: str = "cpu") -> TrainedNetwork:
    """The trained network in a run folder or an exported one.

    Its `network` is in evaluation mode, on `device` (cpu, cuda, cuda:1, mps, or auto: the fastest that is there), and
    takes normalised images; `predict` takes uint8 pixels. Raises ValueError, in one line, if the folder is neither, a
    file in it is damaged or does not fit the others, or there is no such device.
    """
    path = expanded(folder)
    if is_there(path / CONFIG):
        return TrainedNetwork.read(RunFolder(path), device=pick_device(device))
    about, network = read_exported(path)
    return TrainedNetwork(
        network=network.to(pick_device(device), memory_format=torch.channels_last),  # type: ignore[call-overload]
        genotype=about.genotype,
        classes=about.classes,
        normalisation=Normalisation(mean_C=torch.tensor(about.mean), std_C=torch.tensor(about.std)),
        image_shape=about.image_shape,
        border=about.border,
    )


def read_exported(folder: Path) -> tuple[About, nn.Module]:
    """Description and network of an exported folder, on the CPU, for evaluation. Raises ValueError as `load` does.

    Its files may be links within itself, unlike a run's; in the cache of the Hugging Face Hub, where those of
    snapshots/REVISION lead to blobs beside, within all that the cache has of the network.
    """
    inside = folder.absolute().parents[1] if folder.absolute().parent.name == "snapshots" else folder
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is no folder; give a run folder or one that xnas export has written")
    path = folder / ABOUT
    home = Path(os.path.realpath(inside))
    fields = read_object(resolved(path, inside=inside), inside=home, most=MOST_ABOUT)
    if fields is None:
        raise ValueError(
            f"{folder} is neither a run folder nor an exported network: it has no {CONFIG} and no {ABOUT}"
        )
    about = About.from_fields(fields)
    try:
        check_plan(about.plan)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not is_there(folder / WEIGHTS):
        raise ValueError(f"{folder} has no {WEIGHTS}; export the run anew")
    weights, _ = read_tensors(resolved(folder / WEIGHTS, inside=inside), inside=home)
    network = bring_back(about.genotype, about.plan, weights, where=f"the network in {folder}")
    return about, network


def check_plan(plan: StackPlan) -> None:
    """Raises ValueError for a network larger than there are, before one is built because a file says so."""
    check_stack("plan", plan.channels, plan.cells, plan.reductions)
    between("plan.image_channels", plan.image_channels, 1, MOST_CHANNELS)
    between("plan.num_classes", plan.num_classes, 2, MOST_CLASSES)
    if plan.stem_channels is not None:
        between("plan.stem_channels", plan.stem_channels, 1, MOST_CHANNELS)


def exported_files(about: About, network: nn.Module) -> dict[str, bytes]:
    """The files that `load` reads, by name."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return {ABOUT: about.to_json().encode(), WEIGHTS: save(tensors, metadata={"format": "pt"})}
