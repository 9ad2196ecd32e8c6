"""Data sets that come as folders of images, each laid out in its own way: which are for training, which for the test.

imagenet (Russakovsky et al. 2015): train/WNID, and val/WNID or val with a list of its classes; the test is val.
tiny-imagenet: train/WNID/images, and val/images with val_annotations.txt; the test is val. imagenette: train/WNID and
val/WNID. cinic10 (Darlow et al. 2018): train, valid and test; its valid is left out, and in cinic10-enlarged it is
trained on too. freiburg (Jund et al. 2016): images/CLASS, and five official folds, splits/train0.txt and
splits/test0.txt to 4.
"""

import csv
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from xnas.data.files.decode import SUFFIXES
from xnas.data.files.folder import read_listings
from xnas.data.files.listing import Listing, entries_of, list_classes
from xnas.data.images import DataSet, check_same_classes
from xnas.data.sets.download import fetch, unpack_whole
from xnas.io.safe_read import read_regular

MOST_BYTES = 50_000_000
"""Bytes of a list of images."""
FOLDS = 5
"""Official folds of freiburg."""
SOLUTION = "LOC_val_solution.csv"
"""Kaggle's list of the classes of ImageNet's val."""

Lister = Callable[[Path, int | None], tuple[Listing, Listing]]
"""Takes the folder and a fold; gives the training and the test images."""


@dataclass(frozen=True, kw_only=True)
class FolderSet:
    """A data set that is read from folders."""

    places: tuple[str, ...]
    """Names of its folder inside data.root, which may also be the folder itself."""
    holds: tuple[str, ...]
    """The folders in it by which it is known."""
    source: str
    """Address or remedy where it can be had."""
    lists: Lister
    class_folders: tuple[tuple[str, ...], str] | None = None
    """The folders of training images, and that of the test, if they may be laid out as train/CLASS is."""
    image_size: int | None = None
    """Side in pixels where none is asked for; None as for any folder."""
    archive: tuple[str, str] | None = None
    """URL and md5 of what --data.download brings."""


def find_folder_set(name: str, root: Path | None) -> Path | None:
    """Return the folder of the set, where `read_folder_set` looks for it; None if it is not there."""
    found = FOLDER_SETS[name]
    return next(
        (
            place
            for place in _places(name, root)
            if all(os.path.isdir(place / folder) for folder in found.holds)
        ),
        None,
    )


def read_folder_set(
    name: str,
    root: Path | None,
    *,
    fold: int | None,
    image_size: int | None,
    workers: int | None,
    local_world_size: int = 1,
    max_broken: int,
    decode_memory: float,
    resized_crops: bool,
    download: bool,
) -> DataSet:
    """The set of that name from `root` or its own folder in `root`; `root` is by default the folder data.

    Raises ValueError, saying what to do, if it cannot be had, and as `read_listings` does.
    """
    kind, place = FOLDER_SETS[name], find_folder_set(name, root)
    if place is None:
        places = _places(name, root)
        if kind.archive is None or not download:
            help_ = ", or add --data.download" if kind.archive else ""
            wanted = " and ".join(f"{folder}/" for folder in kind.holds)
            raise ValueError(
                f"{name}: there is no folder with {wanted} in {' or '.join(map(str, places))}; get it from "
                f"{kind.source}, unpack it, and point --data.root to it{help_}"
            )
        url, md5 = kind.archive
        place, home = places[0], places[-1]
        unpack_whole(fetch(url, home, md5=md5), home, top=place.name)
    listings = kind.lists(place, fold)
    for listing in listings:
        listing.log_remarks()
    check_same_classes(listings[0].classes, listings[1].classes, where=str(place))
    return read_listings(
        listings,
        place,
        name=name,
        image_size=image_size or kind.image_size,
        workers=workers,
        local_world_size=local_world_size,
        max_broken=max_broken,
        decode_memory=decode_memory,
        resized_crops=resized_crops,
    )


def _places(name: str, root: Path | None) -> tuple[Path, ...]:
    home = Path("data") if root is None else root
    return (*(home / place for place in FOLDER_SETS[name].places), home)


def _imagenet(root: Path, fold: int | None) -> tuple[Listing, Listing]:
    del fold
    home = root.resolve()
    train, val = list_classes(root / "train", home), root / "val"
    if any(path.is_dir() for path in entries_of(val, home)):
        return train, list_classes(val, home)
    # As Kaggle packs it, the list lies beside ILSVRC/Data/CLS-LOC/val or beside the folder ILSVRC.
    lists = [folder / SOLUTION for folder in (val, root, home.parents[min(2, len(home.parents) - 1)])]
    found = next((path for path in lists if path.is_file()), None)
    if found is None:
        raise ValueError(
            f"{val} has images and no folders of classes: put every image into {val}/WNID, the folder of its class, or "
            f"put Kaggle's {SOLUTION} into {val}"
        )
    rows = csv.reader(_lines(found)[1:])
    pairs = [(f"{row[0]}.JPEG", row[1].split()[0]) for row in rows if len(row) == 2 and row[1].strip()]
    return train, _listed(pairs, _flat(val, home), source=found)


def _tiny_imagenet(root: Path, fold: int | None) -> tuple[Listing, Listing]:
    del fold
    home, source = root.resolve(), root / "val" / "val_annotations.txt"
    if not (root / "val" / "images").is_dir():  # put into folders by its owner, who may have kept the list
        return list_classes(root / "train", home, inner="images"), list_classes(root / "val", home)
    pairs = [(row[0], row[1]) for line in _lines(source) if len(row := line.split("\t")) >= 2]
    test = _listed(pairs, _flat(root / "val" / "images", home), source=source)
    return list_classes(root / "train", home, inner="images"), test


def _cinic10(root: Path, fold: int | None) -> tuple[Listing, Listing]:
    del fold
    home = root.resolve()
    return list_classes(root / "train", home), list_classes(root / "test", home)


def _cinic10_enlarged(root: Path, fold: int | None) -> tuple[Listing, Listing]:
    train, test = _cinic10(root, fold)
    more = list_classes(root / "valid", root.resolve())
    check_same_classes(train.classes, more.classes, where=f"{root}, train and valid")
    both = Listing(
        train.classes,
        (*train.paths, *more.paths),
        torch.cat([train.labels_N, more.labels_N]),
        train.remarks + more.remarks,
    )
    return both, test


def _imagenette(root: Path, fold: int | None) -> tuple[Listing, Listing]:
    del fold
    home = root.resolve()
    return list_classes(root / "train", home), list_classes(root / "val", home)


def _freiburg(root: Path, fold: int | None) -> tuple[Listing, Listing]:
    fold = 0 if fold is None else fold
    if not 0 <= fold < FOLDS:
        raise ValueError(f"data.fold must be from 0 to {FOLDS - 1} for freiburg; got {fold}")
    whole = list_classes(root / "images", root.resolve())
    files = {"/".join(Path(path).parts[-2:]): path for path in whole.paths}
    train, test = (
        _listed(
            [(name, name.partition("/")[0]) for line in _lines(source) if (name := line.split(" ")[0])],
            files,
            source=source,
        )
        for source in (root / "splits" / f"{part}{fold}.txt" for part in ("train", "test"))
    )
    return replace(train, remarks=whole.remarks), test


def _flat(folder: Path, home: Path) -> dict[str, str]:
    """Return the images in a folder, by their names."""
    return {path.name: str(path) for path in entries_of(folder, home) if path.suffix.lower() in SUFFIXES}


def _listed(pairs: Iterable[tuple[str, str]], files: Mapping[str, str], *, source: Path) -> Listing:
    """Return the images that a list names, with their classes, in the order of these and of their names."""
    ordered = sorted(set(pairs), key=lambda pair: (pair[1], pair[0]))
    if not ordered:
        raise ValueError(f"{source} names no images; bring the original list")
    missing = next((name for name, _ in ordered if name not in files), None)
    if missing is not None:
        raise ValueError(f"{source} names {missing}, which is not there; bring the whole set")
    classes = tuple(sorted({label for _, label in ordered}))
    numbers = {label: number for number, label in enumerate(classes)}
    return Listing(
        classes,
        tuple(files[name] for name, _ in ordered),
        torch.tensor([numbers[label] for _, label in ordered]),
    )


def _lines(path: Path) -> list[str]:
    try:
        return read_regular(path, what="list of images", most=MOST_BYTES).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read the list of images {path}: {error}") from error


_IMAGENETTE = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"
_CINIC = "https://datashare.ed.ac.uk/handle/10283/3192"
FOLDER_SETS = {
    "imagenet": FolderSet(
        places=("imagenet", "ILSVRC/Data/CLS-LOC"),
        holds=("train", "val"),
        source="https://image-net.org/download.php",
        lists=_imagenet,
        class_folders=(("train",), "val"),
        image_size=224,
    ),
    "tiny-imagenet": FolderSet(
        places=("tiny-imagenet-200",),
        holds=("train", "val"),
        source="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        lists=_tiny_imagenet,
    ),
    "imagenette": FolderSet(
        places=("imagenette2-160", "imagenette2-320", "imagenette2"),
        holds=("train", "val"),
        source="https://github.com/fastai/imagenette",
        lists=_imagenette,
        class_folders=(("train",), "val"),
        archive=(_IMAGENETTE, "e793b78cc4c9e9a4ccc0c1155377a412"),
    ),
    "cinic10": FolderSet(
        places=("CINIC-10",),
        holds=("train", "valid", "test"),
        source=_CINIC,
        lists=_cinic10,
        class_folders=(("train",), "test"),
    ),
    "cinic10-enlarged": FolderSet(
        places=("CINIC-10",),
        holds=("train", "valid", "test"),
        source=_CINIC,
        lists=_cinic10_enlarged,
        class_folders=(("train", "valid"), "test"),
    ),
    "freiburg": FolderSet(
        places=("freiburg_groceries_dataset",),
        holds=("images", "splits"),
        source="https://github.com/PhilJd/freiburg_groceries_dataset (its src/download_dataset.py brings the images)",
        lists=_freiburg,
    ),
}
