"""Bringing a trained network back from wherever it is: a run folder, or a folder that `xnas export` has written."""

import os
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from xnas.config.limits import MOST_CHANNELS, check_range, check_stack
from xnas.config.schema import CONFIG
from xnas.data.images import Normalisation
from xnas.export.metadata import About, check_format
from xnas.export.sums import BLANK, IN_JSON, is_sealed, sealed
from xnas.io.json import JsonObject, parse_json_object
from xnas.io.manifest import FileDigest
from xnas.io.paths import expanded
from xnas.io.safe_read import exists, open_regular, read_regular, resolved
from xnas.io.tensors import MOST_BYTES, read_tensors
from xnas.runs.folder import RunFolder
from xnas.space.backbone import NetworkSpec
from xnas.train.device import pick_device
from xnas.train.trained_network import TrainedNetwork, build_with_weights, check_weights

ABOUT, WEIGHTS = "config.json", "model.safetensors"
"""The files of an exported network."""

MOST_CLASSES = 100_000
MOST_ABOUT = 20_000_000
"""Bytes of a description, in which each class is named twice."""


def load(folder: str | Path, *, device: str = "cpu", unchecked: bool = False) -> TrainedNetwork:
    """Return the trained network in a run folder or an exported one.

    Its `network` is in evaluation mode, on `device` (cpu, cuda, cuda:1, mps, or auto: the fastest that is there), and
    takes normalised images; `predict` takes uint8 pixels. With `unchecked` an exported folder that was changed on
    purpose is taken: the sums of its files are not compared. Raises ValueError, in one line, if the folder is neither,
    a file in it is damaged, has changed since it was exported, or does not fit the others, or there is no such device.
    """
    path = expanded(folder)
    if exists(path / CONFIG):
        return TrainedNetwork.read(RunFolder(path), device=pick_device(device))
    about, network = read_exported(path, unchecked=unchecked)
    return TrainedNetwork(
        network=network.to(pick_device(device), memory_format=torch.channels_last),  # type: ignore[call-overload]
        genotype=about.genotype,
        classes=about.classes,
        normalisation=Normalisation(mean_C=torch.tensor(about.mean), std_C=torch.tensor(about.std)),
        image_shape=about.image_shape,
        border=about.border,
    )


def read_exported(folder: Path, *, unchecked: bool = False) -> tuple[About, nn.Module]:
    """Description and network of an exported folder, on the CPU, for evaluation. Raises ValueError as `load` does.

    Its files may be links within itself, unlike a run's; in the cache of the Hugging Face Hub, where those of
    snapshots/REVISION lead to blobs beside, within all that the cache has of the network.
    """
    about = About.from_fields(read_fields(folder, unchecked=unchecked))
    try:
        check_plan(about.plan)
    except ValueError as error:
        raise ValueError(f"{folder / ABOUT}: {error}") from None
    home, path = _place(folder, WEIGHTS)
    weights, _ = read_tensors(path, inside=home)
    network = build_with_weights(about.genotype, about.plan, weights, where=f"the network in {folder}")
    return about, network


def read_fields(folder: Path, *, unchecked: bool = False) -> JsonObject:
    """Return the description in an exported folder, whose files are known to be those that were exported, if not
    `unchecked`.

    Raises ValueError as `load` does, for what can be told without its network.
    """
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is no folder; give a run folder or one that xnas export has written")
    path = folder / ABOUT
    if not exists(path):
        if exists(folder / CONFIG):
            raise ValueError(
                f"{folder} is a run folder, and an exported one is needed: xnas export {folder} --format hub --to "
                "FOLDER writes it; xnas.load reads both"
            )
        raise ValueError(
            f"{folder} is neither a run folder nor an exported network: it has no {CONFIG} and no {ABOUT}"
        )
    home, place = _place(folder, ABOUT)
    content = read_regular(place, what="file", most=MOST_ABOUT, inside=home)
    try:
        fields = parse_json_object(content.decode(), where=str(path))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is damaged: it is not UTF-8 at byte {error.start:,}; export the run again"
        ) from None
    check_format(fields)
    if not exists(folder / WEIGHTS):
        raise ValueError(f"{folder} has no {WEIGHTS}; export the run again")
    if not unchecked:
        _check_sums(folder, content, fields)
    return fields


def _check_sums(folder: Path, content: bytes, fields: JsonObject) -> None:
    changed = None
    if not is_sealed(content, IN_JSON):
        changed = ABOUT
    else:
        home, place = _place(folder, WEIGHTS)
        with open_regular(place, what="weights", most=MOST_BYTES, inside=home) as file:
            if FileDigest.of_file(file).sha256 != fields.nested("sha256").text(WEIGHTS):
                changed = WEIGHTS
    if changed is not None:
        raise ValueError(
            f"{folder / changed} has changed since it was exported: its SHA-256 is not the one in {ABOUT}; export the "
            "run again, or copy the folder again; what was changed on purpose is taken by xnas predict --unchecked and "
            "xnas.load(..., unchecked=True)"
        )


def _place(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the folder that a file's links may lead into, and where they lead."""
    inside = folder.absolute().parents[1] if folder.absolute().parent.name == "snapshots" else folder
    return Path(os.path.realpath(inside)), resolved(folder / name, inside=inside)


def check_plan(plan: NetworkSpec) -> None:
    """Raise ValueError for a network larger than there are, before one is built because a file says so."""
    check_stack("plan", plan.channels, plan.cells, plan.reductions)
    check_range("plan.image_channels", plan.image_channels, 1, MOST_CHANNELS)
    check_range("plan.num_classes", plan.num_classes, 2, MOST_CLASSES)
    if plan.stem_channels is not None:
        check_range("plan.stem_channels", plan.stem_channels, 1, MOST_CHANNELS)


def tensors_to_export(about: About, network: nn.Module) -> dict[str, Tensor]:
    """Return the network's tensors by name, on the CPU. Raises ValueError for a network that `load` would refuse."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    check_weights(about.genotype, about.plan, tensors, where="the network that is to be written")
    return tensors


def exported_files(about: About, network: nn.Module) -> dict[str, bytes]:
    """Return the files that `load` reads, by name. Raises ValueError for a network that it would refuse."""
    weights = save(tensors_to_export(about, network), metadata={"format": "pt"})
    sums = {WEIGHTS: FileDigest.of(weights).sha256, ABOUT: BLANK}
    return {ABOUT: sealed(about.to_json(sums=sums).encode(), IN_JSON), WEIGHTS: weights}
