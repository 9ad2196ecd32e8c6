"""Exporting a trained network: every form is read back and compared with the network before it takes its place.

N: images; C H W: channels, height, width; D: classes.
"""

import copy
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xnas.config.schema import IN_MEMORY, Config
from xnas.export import onnx as onnx_file
from xnas.export.load import ABOUT, MOST_ABOUT, WEIGHTS, exported_files, read_exported
from xnas.export.metadata import FORMAT, About
from xnas.export.model_card import CARD, model_card
from xnas.export.module import module_to_export, program_bytes, program_module, takes_any_size
from xnas.export.onnx import OnnxNetwork, OnnxVersions
from xnas.io.atomic import alone_in, atomic_write, check_target, write_folder
from xnas.io.json import read_json_object
from xnas.io.manifest import FileDigest
from xnas.io.safe_read import read_regular
from xnas.io.text import printable, short_repr
from xnas.runs.folder import Result
from xnas.train.memory import is_out_of_memory
from xnas.train.trained_network import TrainedNetwork

Form = Literal["safetensors", "onnx", "torch-export", "timm", "hub"]
SUFFIXES: dict[Form, str] = {"onnx": ".onnx", "torch-export": ".pt2"}
"""Suffixes of the forms that are one file; the others are folders."""

TOLERANCE = 1e-4
"""Largest difference of a logit from the network's."""

ROUNDINGS = 10
"""How many times the network's own rounding it may differ where that is more: a network that amplifies what float32
rounds off has no logits to 1e-4, in torch with another memory layout neither."""

MOST_SUM = 1000
"""Bytes of a file with a sum and a name."""

IMAGES = 16
"""Images on which a form is compared with the network."""

Run = Callable[[Tensor], Tensor]
"""uint8 images NCHW to logits ND."""


@dataclass(frozen=True, kw_only=True)
class ExportCheck:
    """Distance of the written form from the network."""

    difference: float
    """The largest between two logits."""
    rounding: float | None
    """Where that is more than TOLERANCE, the largest between the network in float32 and in float64."""
    images: int
    any_size: bool
    """Whether other heights and widths than those of the images were compared too."""


def about_network(
    trained: TrainedNetwork, config: Config, result: Result | None, *, image_shape: tuple[int, int, int]
) -> About:
    """The description of a run's network. Raises ValueError where its parts do not fit together."""
    return About(
        genotype=trained.genotype,
        plan=dataclasses.replace(trained.network.spec, activation_checkpointing=False),  # type: ignore[type-var, arg-type]
        classes=trained.classes,
        mean=tuple(trained.normalisation.mean_C.tolist()),
        std=tuple(trained.normalisation.std_C.tolist()),
        image_shape=image_shape,
        border=trained.border,
        data="images in memory"
        if config.data.source == IN_MEMORY
        else os.path.basename(os.path.abspath(config.data.source)),
        # Images that were held out are no test images, and a reader of the figure would take them for that.
        result=None if config.data.held_out > 0 else result,
    )


def check_place(path: Path, form: Form, *, overwrite: bool) -> None:
    """Raise ValueError, with the remedy, if the form cannot be written to `path`."""
    suffix = SUFFIXES.get(form)
    if suffix and path.suffix != suffix:
        raise ValueError(f"{form} is a file that ends in {suffix}; got --to {path}")
    check_target(path, overwrite=overwrite, ours=_is_file_of_ours if suffix else _is_folder_of_ours)
    if form == "torch-export":
        if {"\n", "\\"} & {*path.name}:
            raise ValueError(
                f"--to {short_repr(str(path))}: the sum beside it cannot name a backslash or newline; choose another"
            )
        check_target(sum_file(path), overwrite=overwrite, ours=_is_sum_file)


def sum_file(path: Path) -> Path:
    """Return the file beside a program that has its SHA-256, as `sha256sum --check` reads it."""
    return path.with_name(f"{path.name}.sha256")


def check_packages(form: Form) -> None:
    """Raise ValueError, with the command that installs it, if a package that the form needs is missing."""
    match form:
        case "onnx":
            onnx_file.check_packages()
        case "timm":
            _import_timm()
        case "hub":
            _import_hub()


def _is_file_of_ours(path: Path) -> bool:
    """Return whether the file at `path` has the word in it that all exported files have, and few others."""
    return path.is_file() and FORMAT.encode() in path.read_bytes()


def _is_sum_file(path: Path) -> bool:
    try:
        said = read_regular(path, what="sum", most=MOST_SUM)
    except ValueError:
        return False
    return re.fullmatch(rb"[0-9a-f]{64}  .*\n", said, re.DOTALL) is not None


def _is_folder_of_ours(path: Path) -> bool:
    """Return whether nothing but what an export has written is in the folder at `path`."""
    names = {item.name for item in path.iterdir()} if path.is_dir() else {""}
    if not names <= {ABOUT, WEIGHTS, CARD}:
        return False
    if not names:
        return True  # there is nothing to lose
    fields = read_json_object(path / ABOUT, inside=path, most=MOST_ABOUT)
    return fields is not None and fields.values.get("format") == FORMAT


def export(
    trained: TrainedNetwork,
    about: About,
    images_NCHW: Tensor,
    *,
    form: Form,
    path: Path,
    name: str,
    normalise: bool = True,
    overwrite: bool = False,
    versions: OnnxVersions | None = None,
) -> ExportCheck:
    """Write the network to `path`, if what is written gives the network's logits on these uint8 images.

    `name` is what a model card calls it. Without `normalise` an ONNX file or a program takes images that are normalised
    already; `versions` are those of an ONNX file. Raises ValueError if a package is missing, the images have other
    channels, the place is taken, or a logit differs by too much (see `compare`); nothing is written then.
    """
    check_place(path, form, overwrite=overwrite)
    check_packages(form)
    if images_NCHW.shape[1] != trained.image_channels:
        raise ValueError(
            f"the network takes images of C = {trained.image_channels}, but those to compare on have C = "
            f"{images_NCHW.shape[1]}; give others with --images"
        )
    network = copy.deepcopy(trained.network).to("cpu").eval()
    if next(network.parameters()).dtype in (torch.float16, torch.bfloat16):
        network = network.float()  # the same values; forms are compared in float32
    reference = module_to_export(network, about, normalise=True)
    images_NCHW = images_NCHW[:IMAGES]

    def compared(run: Run, *, any_size: bool = True) -> ExportCheck:
        least = about.reduction + 1 if any_size else None
        return compare(reference, run, images_NCHW, least=least, form=form)

    if form in SUFFIXES:
        module = module_to_export(network, about, normalise=normalise)
        with _in_one_line(form):
            if form == "onnx":
                content = onnx_file.onnx_bytes(module, about, normalise=normalise, versions=versions)
                comparison = compared(OnnxNetwork.of(content, where="what was exported").logits)
            else:
                content = program_bytes(module, about, normalise=normalise)
                program = program_module(content)
                run: Run = program if normalise else lambda images: program(trained.normalisation(images))
                comparison = compared(run, any_size=takes_any_size(about))
        with alone_in(path.parent):
            check_place(path, form, overwrite=overwrite)  # again: minutes may have passed
            atomic_write(path, content)
            if form == "torch-export":
                line = f"{FileDigest.of(content).sha256}  ".encode() + os.fsencode(path.name) + b"\n"
                atomic_write(sum_file(path), line)
        return comparison
    files = exported_files(about, network)
    if form != "safetensors":
        files[CARD] = model_card(about, name=name).encode()
    found: list[ExportCheck] = []
    read = {"safetensors": _read_by_xnas, "timm": _read_by_timm, "hub": _read_by_hub}[form]

    def check(folder: Path) -> None:
        with _in_one_line(form):
            again = read(folder).eval()
            found.append(compared(lambda images: again(trained.normalisation(images))))
        check_place(path, form, overwrite=overwrite)  # again: minutes may have passed

    with alone_in(path.parent):
        write_folder(path, files, check=check)
    return found[0]


@contextmanager
def _in_one_line(form: Form) -> Iterator[None]:
    """Turn an error of an exporter or a reader, of any type, into a ValueError of one line.

    Want of memory, and what the disk does not take, stay what they are.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if "\n" not in str(error):
            raise
        raise _cannot(form, error) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _cannot(form, error) from error


def _cannot(form: Form, error: Exception) -> ValueError:
    said = printable(" ".join(str(error).split())[:300]) or type(error).__name__
    return ValueError(
        f"the network cannot be written as {form}: {said}; nothing was written; try another --format"
    )


@torch.no_grad()
def compare(
    reference: nn.Module, run: Run, images_NCHW: Tensor, *, least: int | None, form: str
) -> ExportCheck:
    """Both on all images, on the first alone, and on parts of them that are no squares, if other sizes are taken.

    These are not made smaller than `least` pixels a side; None: no other sizes are taken.
    Raises ValueError if a logit differs by more than TOLERANCE and ROUNDINGS times the network's own rounding, or is no
    number.
    """
    batches = [images_NCHW, images_NCHW[:1]]
    if least is not None:
        batches.append(images_NCHW[..., : max(least, images_NCHW.shape[-1] * 3 // 4)])
        batches.append(images_NCHW[..., : max(least, images_NCHW.shape[-2] - 1), :])

    def furthest(one: Run, other: Run) -> float:
        # Of torch, as its largest of numbers and of what is no number is no number.
        return float(torch.stack([(one(images) - other(images)).abs().max() for images in batches]).max())

    difference, rounding = furthest(run, reference), None
    if not difference <= TOLERANCE:  # nor if it is no number
        exact = copy.deepcopy(reference).double()
        rounding = furthest(reference, exact)
    if rounding is not None and not difference <= ROUNDINGS * rounding:
        raise ValueError(
            f"{form} gives logits that differ by {difference:.2e} from the network's, more than {TOLERANCE:g}; nothing "
            "was written"
        )
    return ExportCheck(
        difference=difference,
        rounding=rounding,
        images=len(images_NCHW),
        any_size=any(images.shape[2:] != images_NCHW.shape[2:] for images in batches),
    )


def _read_by_xnas(folder: Path) -> nn.Module:
    return read_exported(folder)[1]


def _read_by_timm(folder: Path) -> nn.Module:
    model: nn.Module = _import_timm().create_model(f"local-dir:{folder}", pretrained=True)
    return model


def _import_timm() -> Any:
    try:
        import timm

        import xnas.timm_models  # noqa: F401  # registers the entry points
    except ImportError as error:
        raise ValueError(
            f"the form timm needs the package timm: pip install 'xnas[timm]' ({error})"
        ) from error
    return timm


def _read_by_hub(folder: Path) -> nn.Module:
    network: nn.Module = _import_hub().HubNetwork.from_pretrained(folder)
    return network


def _import_hub() -> Any:
    try:
        import xnas.hub
    except ImportError as error:
        raise ValueError(
            f"the form hub needs the package huggingface_hub: pip install 'xnas[hub]' ({error})"
        ) from error
    return xnas.hub
