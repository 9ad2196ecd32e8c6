"""A folder of images as a data set: held in memory, or read from its files while training.

What is beyond memory, or is asked for with a number of processes, stays in the files. Both give the same images:
an image that all files show without colour has 1 channel, otherwise 3.
N: images of a set; C H W: channels, height, width.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xnas.data.files.broken import BrokenImage, BrokenImages
from xnas.data.files.decode import Broken, DecodeSpec, ImageHeader, each, is_grey, read_header, read_image
from xnas.data.files.decode_memory import DEFAULT, DecodeMemory
from xnas.data.files.listing import Listing, list_sets
from xnas.data.files.readers import ReaderPool, available_cores
from xnas.data.files.streaming import LARGE, FileImageSet, ImageFiles, shows_colour
from xnas.data.images import DataSet, Images, ImageSet

log = logging.getLogger(__name__)

MOST_TRIED = 512
"""Pixels a side of the largest images that the tests train on."""
MOST_AREA = 2**24
"""Pixels of images that nobody gave a size: 4096 x 4096."""
MOST_BYTES = 8 * 2**30
"""Pixels that are held in memory, by all processes of a machine together."""
LEAST_SIZE = 8
TEST_BORDER = 1 / 16
"""Cut off on every side of test images where training takes resized crops: 256 pixels become 224."""
LEFT_OUT = "it is left out"
PARTS = ("training", "test")


def read_folder(
    root: Path,
    *,
    image_size: int | None,
    test_fraction: float,
    seed: int,
    workers: int | None = None,
    local_world_size: int = 1,
    max_broken: int = 0,
    decode_memory: float = DEFAULT,
    resized_crops: bool = False,
) -> DataSet:
    """The data set that a folder holds. A folder without test images is split by the seed, class by class.

    Arguments as in `read_listings`.
    """
    return read_listings(
        list_sets(root, test_fraction=test_fraction, seed=seed),
        root,
        name=root.resolve().name,
        image_size=image_size,
        workers=workers,
        local_world_size=local_world_size,
        max_broken=max_broken,
        decode_memory=decode_memory,
        resized_crops=resized_crops,
    )


def read_listings(
    listings: tuple[Listing, Listing],
    root: Path,
    *,
    name: str,
    image_size: int | None,
    workers: int | None = None,
    local_world_size: int = 1,
    max_broken: int = 0,
    decode_memory: float = DEFAULT,
    resized_crops: bool = False,
) -> DataSet:
    """The data set of the training and test images that are listed, all of them in `root`.

    With `image_size` every image is scaled and cropped to a square of that side; without, they keep their size if they
    share one, and become squares of the middle size if not. With `workers` images stay in their files, and so many
    processes read them, at most one for each core; 0 leaves that to this process. By default they are held in memory
    where they fit, and where not there is a process for each core; `local_world_size` processes divide memory and cores
    among them. Up to `max_broken` images may be unreadable: they are left out where that is found on loading, and
    replaced by others of their class where it is found later. `decode_memory`: GiB that decoding takes at most, in all
    readers together; an image that takes more than half of it cannot be read. With `resized_crops` in training, test
    images that are scaled lose an eighth of their shorter side, half of it at each border, as on ImageNet.
    Raises ValueError, naming the folder or file, where the layout or an image is unfit.
    """
    broken = BrokenImages(str(root), allowed=max_broken)
    memory = DecodeMemory(decode_memory)
    kept, headers = _read_headers(listings, broken, memory)
    paths = (*kept[0].paths, *kept[1].paths)
    form = _form(paths, (*headers[0], *headers[1]), image_size)
    num_bytes = len(paths) * math.prod(form.shape)
    # Alone as with many where it would show: crops are made of other pixels in memory, and broken images left out.
    held = MOST_BYTES if resized_crops or max_broken else MOST_BYTES // local_world_size
    cores = max(1, available_cores() // local_world_size)
    if workers is not None and workers > cores:
        log.info(
            f"{root}: {workers:,} processes to read images are more than there are cores for them, so that {cores} read"
        )
        workers = cores
    if workers is None and num_bytes > held:
        workers = cores
        log.info(
            f"{root}: {len(paths):,} images of {form.height} x {form.width} pixels take {num_bytes / 2**30:.1f} GiB, "
            f"more than the {held / 2**30:.3g} that are held in memory: they are read while training, by "
            f"--data.workers {workers}"
        )
    border = TEST_BORDER if resized_crops and form.scaled else 0.0
    forms = (form, replace(form, border=border))
    train, test = (
        _load(kept, headers, forms, broken, memory)
        if workers is None
        else _stream(kept, headers, forms, broken, memory, workers)
    )
    return DataSet(name=name, train=train, test=test, border=border)


def _read_headers(
    listings: Sequence[Listing], broken: BrokenImages, memory: DecodeMemory
) -> tuple[tuple[Listing, ...], tuple[list[ImageHeader], ...]]:
    """The files whose headers can be read, and these."""
    read = partial(read_header, memory=memory)
    found = [list(each(read, listing.paths)) for listing in listings]
    broken.add(
        [
            _broken_image(listing, i, header, part)
            for listing, headers, part in zip(listings, found, PARTS, strict=True)
            for i, header in enumerate(headers)
            if isinstance(header, Broken)
        ],
        what_happens=LEFT_OUT,
    )
    kept = tuple(
        listing.part([i for i, header in enumerate(headers) if isinstance(header, ImageHeader)])
        for listing, headers in zip(listings, found, strict=True)
    )
    for whole, listing, part in zip(listings, kept, PARTS, strict=True):
        _check_every_class(whole, listing, broken, part)
    return kept, tuple([header for header in headers if isinstance(header, ImageHeader)] for headers in found)


def _check_every_class(whole: Listing, intact: Listing, broken: BrokenImages, part: str) -> None:
    """Raise ValueError, naming it, if all images of a class are broken."""
    counts, left = (
        torch.bincount(listing.labels_N, minlength=len(whole.classes)).tolist() for listing in (whole, intact)
    )
    for name, count, rest in zip(whole.classes, counts, left, strict=True):
        if count and not rest:
            raise ValueError(
                f"none of the {count:,} images of the class {name!r} in the {part} set of {broken.root} can be read; "
                "replace them, or leave the class out"
            )


def _broken_image(listing: Listing, i: int, broken: Broken, part: str) -> BrokenImage:
    label = listing.classes[int(listing.labels_N[i])]
    return BrokenImage(listing.paths[i], label, i, part, broken.reason)


def _load(
    listings: Sequence[Listing],
    headers: Sequence[Sequence[ImageHeader]],
    forms: Sequence[DecodeSpec],
    broken: BrokenImages,
    memory: DecodeMemory,
) -> list[Images]:
    """Both sets in memory."""
    read = [_read_pixels(listing, form, memory) for listing, form in zip(listings, forms, strict=True)]
    broken.add(
        [
            _broken_image(listing, i, image, part)
            for listing, (_, _, found), part in zip(listings, read, PARTS, strict=True)
            for i, image in found.items()
        ],
        what_happens=LEFT_OUT,
    )
    channels = forms[0].channels if any(colour for _, colour, _ in read) else 1
    sets: list[Images] = []
    for whole, those, (pixels_NCHW, _, found), part in zip(listings, headers, read, PARTS, strict=True):
        intact = [i for i in range(len(whole.paths)) if i not in found]
        listing = whole.part(intact)
        _check_every_class(whole, listing, broken, part)
        sets.append(
            ImageSet(
                images_NCHW=pixels_NCHW[:, :channels].contiguous(),
                labels_N=listing.labels_N,
                classes=listing.classes,
                names=listing.paths,
                file_bytes_N=torch.tensor([those[i].num_bytes for i in intact]),
            )
        )
    return sets


def _read_pixels(
    listing: Listing, form: DecodeSpec, memory: DecodeMemory
) -> tuple[Tensor, bool, dict[int, Broken]]:
    """The pixels that can be read, uint8 NCHW, whether they show colour, and what is broken by its place."""
    paths = listing.paths
    pixels_NCHW = np.empty((len(paths), *form.shape), dtype=np.uint8)
    found: dict[int, Broken] = {}
    colour = False
    if len(paths) >= LARGE:
        log.info(f"reading {len(paths):,} images of {Path(paths[0]).parent.parent}")
    read = partial(read_image, form=form, memory=memory)
    for number, image in enumerate(each(read, paths, num_bytes=math.prod(form.shape))):
        if isinstance(image, Broken):
            found[number] = image
        else:
            pixels_NCHW[number - len(found)] = image
            colour = colour or not is_grey(image)
        if len(paths) >= LARGE and (number + 1) % (-(-len(paths) // 4)) == 0:
            log.info(f"read {number + 1:,} of {len(paths):,} images")
    return torch.from_numpy(pixels_NCHW[: len(paths) - len(found)]), colour, found


def _stream(
    listings: Sequence[Listing],
    headers: Sequence[Sequence[ImageHeader]],
    forms: Sequence[DecodeSpec],
    broken: BrokenImages,
    memory: DecodeMemory,
    count: int,
) -> list[FileImageSet]:
    """Both sets in their files, read by so many processes."""
    workers = ReaderPool(count, gib=memory.gib) if count else None
    memory = workers.memory if workers else memory

    def build(forms: Sequence[DecodeSpec]) -> list[FileImageSet]:
        return [
            FileImageSet(
                labels_N=listing.labels_N,
                classes=listing.classes,
                names=listing.paths,
                file_bytes_N=torch.tensor([header.num_bytes for header in those]),
                files=ImageFiles(part=part, form=form, broken=broken, workers=workers, memory=memory),
            )
            for listing, those, part, form in zip(listings, headers, PARTS, forms, strict=True)
        ]

    sets = build(forms)
    if forms[0].channels > 1 and not any(shows_colour(images) for images in sets):
        return build([replace(form, channels=1) for form in forms])
    return sets


def _form(paths: Sequence[str], headers: Sequence[ImageHeader], image_size: int | None) -> DecodeSpec:
    """What all images are brought to: a square of the size asked for, their own size, or a middle one."""
    square = _square(paths, headers, image_size)
    colour = not all(header.grey for header in headers)
    height, width = square or headers[0].height, square or headers[0].width
    if image_size is None and height * width > MOST_AREA:
        raise ValueError(
            f"the images, such as {paths[0]}, would be of {height:,} x {width:,} pixels, more than a network is "
            "trained on; --data.image-size 224, for example, brings them to fewer"
        )
    if image_size is None and max(height, width) > MOST_TRIED:
        log.info(
            f"images of {height} x {width} pixels take much time and memory; --data.image-size 224, for example, "
            "brings them to fewer"
        )
    return DecodeSpec(
        height=height,
        width=width,
        scaled=square is not None,
        colour=colour,
        channels=3 if colour else 1,
    )


def _square(paths: Sequence[str], headers: Sequence[ImageHeader], image_size: int | None) -> int | None:
    """Return the side to which images are brought, or None if they stay as they are."""
    if image_size is not None:
        if image_size < LEAST_SIZE:
            raise ValueError(f"data.image_size must be at least {LEAST_SIZE}; got {image_size}")
        return image_size
    first = headers[0]
    other = next(
        (
            i
            for i, header in enumerate(headers)
            if (header.height, header.width) != (first.height, first.width)
        ),
        None,
    )
    if other is None:
        return None
    middle = middle_side(min(header.height, header.width) for header in headers)
    log.info(
        f"images differ in size, height x width ({paths[0]} {first.height} x {first.width}, {paths[other]} "
        f"{headers[other].height} x {headers[other].width}): all are brought to {middle} x {middle}, the "
        "middle size; --data.image-size chooses another"
    )
    return middle


def middle_side(shorter_sides: Iterable[int]) -> int:
    """Return the side, in pixels, of the squares that images of several sizes become: the middle of their shorter
    sides."""
    sides = sorted(shorter_sides)
    return max(sides[len(sides) // 2], LEAST_SIZE)
