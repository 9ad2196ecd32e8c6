"""Images and labels as people have them in memory, as a set of images: numpy or torch, whatever the layout.

N: images; H W C: height, width, channels. Pixels are uint8 from 0 to 255, or floating-point from 0 to 1, which are
rounded to the nearest of 256 levels: what networks here are fed with.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xnas.data.files.decode import GREY, to_8_bits, turn_upright
from xnas.data.files.folder import LEAST_SIZE
from xnas.io.text import one_form, printable, short_repr

LAYOUTS = ("auto", "NHWC", "NCHW")
LONGEST_NAME = 255
"""Characters of a class's name: what a run folder's files take."""
CHANNELS = (1, 3)
"""By which "auto" knows the axis of channels."""


def as_image_tensor(images: Any, *, layout: str = "auto") -> Tensor:
    """Images as uint8 of shape (N, C, H, W), of one array or of a list of arrays or of Pillow's images, one an image.

    (N, H, W) are grey. Of four axes, "auto" takes the last for channels if it has 1 or 3 and the second has not, and
    the second the other way round. Pillow's images become RGB, or grey if all are, as those of files do.

    Raises ValueError, in one line, for another shape, for one that can be read in both ways or in neither, for images
    of several shapes, for values out of range, and for images smaller than 8 x 8.
    """
    pixels = _stacked(images) if isinstance(images, list | tuple) and images else _array(images)
    shape = pixels.shape
    if pixels.ndim not in (3, 4) or 0 in shape:
        raise ValueError(f"images must have the shape (N, H, W), (N, H, W, C) or (N, C, H, W); got {shape}")
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif _order(shape, layout) == "NHWC":
        pixels = np.moveaxis(pixels, 3, 1)
    if min(pixels.shape[2:]) < LEAST_SIZE:
        raise ValueError(f"images must be at least {LEAST_SIZE} x {LEAST_SIZE} pixels; got the shape {shape}")
    return torch.from_numpy(np.ascontiguousarray(_bytes(pixels)))


def _stacked(images: Sequence[Any]) -> NDArray[Any]:
    if any(isinstance(image, Image.Image) for image in images):
        images = _upright(images)
    arrays = [_array(image) for image in images]
    other = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if other is not None:
        raise ValueError(
            f"images must all have the same shape; image 0 has {arrays[0].shape}, image {other} has "
            f"{arrays[other].shape}; scale or crop them to one size"
        )
    return np.stack(arrays)


def _upright(images: Sequence[Any]) -> list[Any]:
    """Pillow's images as files of them are read: all grey, or all RGB; what is no image of Pillow stays as it is."""
    pictures = [image for image in images if isinstance(image, Image.Image)]
    colour = not all(image.mode in GREY for image in pictures)
    made = []
    for i, image in enumerate(images):
        try:
            made.append(
                to_8_bits(turn_upright(image), colour=colour) if isinstance(image, Image.Image) else image
            )
        except (ValueError, OSError) as error:
            raise ValueError(f"image {i} cannot be taken: {' '.join(str(error).split())}") from error
    return made


def _array(images: Any) -> NDArray[Any]:
    if isinstance(images, Tensor):
        images = images.detach().cpu()  # numpy takes none of another device, and has no bfloat16
        images = (images.float() if images.is_floating_point() else images).numpy()
    try:
        return np.asarray(images)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot make an array of the images: {' '.join(str(error).split())}") from error


def _order(shape: tuple[int, ...], layout: str) -> str:
    if layout != "auto":
        return layout
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if not (first or last) and 4 in (shape[1], shape[3]):
        colours = "[..., :3]" if shape[3] == 4 else "[:, :3]"
        raise ValueError(
            f"images of shape {shape} seem to have 4 channels, the last of them transparency; leave it out, as in "
            f'images{colours}, or say where channels are: layout="NHWC" or layout="NCHW"'
        )
    if first == last:
        kind = "both the second and the last axis" if first else "neither the second nor the last axis"
        raise ValueError(
            f'{kind} of images of shape {shape} could be 1 or 3 channels; say which: layout="NHWC" or layout="NCHW"'
        )
    return "NHWC" if last else "NCHW"


def _bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"images must be uint8, or floating-point in [0, 1]; got {pixels.dtype}")
    if not (is_finite_N := np.isfinite(pixels).all(axis=(1, 2, 3))).all():
        raise ValueError(
            f"images must be of finite numbers; image {int(is_finite_N.argmin())} has some that are NaN or infinite"
        )
    least, most = float(pixels.min()), float(pixels.max())
    if not (least >= 0 and most <= 1):
        raise ValueError(
            f"floating-point images must lie in [0, 1]; got {least:g} to {most:g}; divide by the largest possible value"
        )
    return cast("NDArray[np.uint8]", np.rint(pixels * 255).astype(np.uint8))


def label_array(labels: Any) -> NDArray[Any]:
    """Labels as an array of whole numbers or of text, of the shape that they have.

    Raises ValueError, in one line, for labels of another kind, of several kinds, or that are no array.
    """
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = (labels.float() if labels.is_floating_point() else labels).numpy()  # numpy has no bfloat16
    if isinstance(labels, list | tuple) and len({isinstance(label, str) for label in labels}) > 1:
        # Numpy would make text of all.
        number = next(label for label in labels if not isinstance(label, str))
        raise ValueError(
            f"labels must be all whole numbers or all text; some are text, and one is {short_repr(number)}"
        )
    try:
        given = np.asarray(labels)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot make an array of the labels: {' '.join(str(error).split())}") from error
    if given.dtype == object or given.dtype.kind == "T":
        if all(isinstance(label, str) for label in given.ravel()):
            given = given.astype(str)
        elif all(isinstance(label, int | np.integer | np.bool_) for label in given.ravel()):
            try:
                given = given.astype(np.int64)
            except OverflowError as error:
                raise ValueError(
                    "labels that are numbers must have less than 64 bits; number the classes"
                ) from error
    if given.dtype.kind not in "iubU":
        raise ValueError(f"labels must be whole numbers or text; got {_kind_of(given)}")
    return given


def _kind_of(labels: NDArray[Any]) -> str:
    """What labels that are not taken are, with what would make them labels."""
    match labels.dtype.kind:
        case "f":
            whole = bool(np.isfinite(labels).all() and (labels == np.rint(labels)).all())
            return f"{labels.dtype}; " + (
                "make them whole numbers, as by labels.astype(int)" if whole else "number the classes"
            )
        case "S":
            return f"bytes ({labels.dtype}); give labels.astype(str)"
        case "O":
            wrong = [
                each for each in labels.ravel() if not isinstance(each, str | int | np.integer | np.bool_)
            ]
            return f"objects, among them {short_repr(wrong[0])}" if wrong else "both numbers and text"
    return str(labels.dtype)


def as_labels(labels: Any, *, count: int) -> tuple[NDArray[Any], Tensor, tuple[str, ...]]:
    """Return the classes in order, as they were given, (D,); each image's index among them, int64 (N,); and their
    names.

    Raises ValueError, in one line, for what is neither whole numbers nor text, or not one label an image, for fewer
    than two classes, and for a class of one image: a search takes images of every class for two things.
    """
    given = label_array(labels)
    if given.shape != (count,):
        raise ValueError(
            f"there must be one label for each of the {count:,} images; got the shape {given.shape}"
        )
    classes, indices = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"there must be at least 2 classes to tell apart; got only {short_repr(classes[0].item())}"
        )
    counts = np.bincount(indices)
    if counts.min() < 2:
        lonely = classes[int(counts.argmin())].item()
        raise ValueError(f"the class {short_repr(lonely)} has only 1 image; add images to it or leave it out")
    return classes, torch.from_numpy(indices.astype(np.int64)), _names(classes.tolist())


def _names(classes: Sequence[Any]) -> tuple[str, ...]:
    names = tuple(map(str, classes))
    for name in names:
        if not name or len(name) > LONGEST_NAME or printable(name) != name:
            raise ValueError(
                f"labels of text must be plain, of 1 to {LONGEST_NAME} characters; got {short_repr(name)}"
            )
    if len({*map(one_form, names)}) < len(names):
        twice = next(
            one for one in names for other in names if one != other and one_form(one) == one_form(other)
        )
        raise ValueError(
            f"the label {twice!a} is there in two ways of writing its accents; write it in one, with "
            "unicodedata.normalize"
        )
    return names
