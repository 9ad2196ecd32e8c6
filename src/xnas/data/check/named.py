"""A data set known by name: whatever is wrong with its files, and which of its images are there twice.

N: images of a part.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xnas.data.check.class_balance import check_counts
from xnas.data.check.duplicates import check_copies, hash_images
from xnas.data.check.image import PLAIN
from xnas.data.files.listing import EMPTY_CLASS
from xnas.data.images import CHUNK
from xnas.data.issues import ClassCount, Issues, IssueType, Report
from xnas.data.sets import cifar, fashion_mnist
from xnas.data.sets.cifar import Cifar
from xnas.data.sets.idx import read_idx
from xnas.data.sets.registry import load_data

DAMAGED_FILE = IssueType("damaged files of the set", "bring the originals")
LABEL = IssueType(
    "labels out of range", "bring the original files; labels are whole numbers from 0, one a class"
)
UNEQUAL_FILES = IssueType("files that do not belong together", "fetch both again, from the same source")
PARTS = ("train", "test")


class ImageSetPart(NamedTuple):
    """Images, and the labels beside them, whatever these are."""

    images_NCHW: Tensor
    labels_N: Tensor


class Content(NamedTuple):
    """What could be read of a set."""

    classes: tuple[str, ...]
    train: ImageSetPart
    test: ImageSetPart


def check_named(name: str, *, root: Path | None, download: bool) -> Report:
    """Everything that is wrong with a named set. Raises ValueError if its files cannot be had."""
    findings = Issues()
    try:
        data = load_data(name, root=root, download=download)
    except ValueError:
        content = _go_through(name, root, findings)
        if content is None or not findings.by_kind():
            raise
    else:
        train, test = (
            ImageSetPart(torch.cat(list(part.chunks())), part.labels_N) for part in (data.train, data.test)
        )
        content = Content(data.train.classes, train, test)
    classes, *parts = content
    counts = [_count(part, len(classes)) for part in parts]
    for part_name, count_by_label in zip(PARTS, counts, strict=True):
        for label, count in zip(classes, count_by_label, strict=True):
            if count == 0:
                findings.add(EMPTY_CLASS, f"{label} in {part_name}")
    check_counts(dict(zip(classes, counts[0], strict=True)), findings, split=False)
    _check_pixels(content, findings)
    return Report(
        source=name,
        holds=f"a data set of {len(content.train.labels_N):,} + {len(content.test.labels_N):,} images",
        classes=tuple(
            ClassCount(name=label, train=train_count, test=test_count)
            for label, train_count, test_count in zip(classes, *counts, strict=True)
        ),
        split=False,
        findings=findings.by_kind(),
    )


def _count(part: ImageSetPart, classes: int) -> list[int]:
    counts: list[int] = part.labels_N.bincount(minlength=classes)[:classes].tolist()
    return counts


def _check_pixels(content: Content, findings: Issues) -> None:
    """Images all of one colour, and images that are there twice."""
    train = len(content.train.labels_N)
    labels_N = torch.cat([content.train.labels_N, content.test.labels_N]).numpy()

    def name(i: int) -> str:
        label = int(labels_N[i])
        shown = content.classes[label] if label < len(content.classes) else f"label {label}"
        return f"training image {i} ({shown})" if i < train else f"test image {i - train} ({shown})"

    hashes, start = [], 0
    for part in content[1:]:
        for chunk_BCHW in torch.split(part.images_NCHW, CHUNK):
            hashes.append(hash_images(chunk_BCHW))
            lowest_BC, highest_BC = chunk_BCHW.flatten(2).aminmax(dim=2)
            for i in (lowest_BC == highest_BC).all(1).nonzero().flatten().tolist():
                findings.add(PLAIN, name(start + i))
            start += len(chunk_BCHW)
    check_copies(np.concatenate(hashes), labels_N, train=train, name=name, findings=findings)


def _go_through(name: str, root: Path | None, findings: Issues) -> Content | None:
    """What can be read of a set whose reading stopped; None where it has no files to go through."""
    for kind in (cifar.CIFAR10, cifar.CIFAR100):
        if name == kind.name and (folder := cifar.find_cifar(kind, root)):
            return _cifar(kind, folder, findings)
    if name == "fashion-mnist" and (folder := fashion_mnist.find_fashion_mnist(root)):
        return _fashion_mnist(folder, findings)
    return None


def _cifar(kind: Cifar, folder: Path, findings: Issues) -> Content:
    try:
        classes = cifar.read_names(folder / kind.names, kind)
    except ValueError as error:
        findings.add(DAMAGED_FILE, str(error))
        classes = tuple(map(str, range(kind.num_classes)))
    train, test = (
        [records for file in files if (records := _records(kind, folder / file, findings))]
        for files in (kind.train, kind.test)
    )
    nothing = ImageSetPart(torch.empty(0, *cifar.SHAPE, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
    return Content(
        classes,
        *(ImageSetPart(*map(torch.cat, zip(nothing, *parts, strict=True))) for parts in (train, test)),
    )


def _records(kind: Cifar, path: Path, findings: Issues) -> ImageSetPart | None:
    try:
        part = ImageSetPart(*cifar.read_records(path, kind))
    except ValueError as error:
        findings.add(DAMAGED_FILE, str(error))
        return None
    _check_labels(part.labels_N, path, findings, classes=kind.num_classes)
    return part


def _fashion_mnist(folder: Path, findings: Issues) -> Content:
    files = fashion_mnist.files_of(folder)
    train, test = (_pair(files[i], files[i + 1], findings) for i in (0, 2))
    return Content(fashion_mnist.CLASSES, train, test)


def _pair(images_path: Path, labels_path: Path, findings: Issues) -> ImageSetPart:
    """The images and labels of two IDX files, as far as they go together."""
    arrays = []
    for path, dimensions in ((images_path, 3), (labels_path, 1)):
        try:
            array = read_idx(path)
        except ValueError as error:
            findings.add(DAMAGED_FILE, str(error))
            array = None
        if array is not None and array.ndim != dimensions:
            findings.add(DAMAGED_FILE, f"{path} has {array.ndim} dimensions, not {dimensions}")
            array = None
        arrays.append(torch.empty(0, *[1] * (dimensions - 1), dtype=torch.uint8) if array is None else array)
    images_NHW, labels_N = arrays
    if len(images_NHW) != len(labels_N):
        said = f"{images_path} has {len(images_NHW):,} images, {labels_path} {len(labels_N):,} labels"
        findings.add(UNEQUAL_FILES, said)
    _check_labels(labels_N, labels_path, findings, classes=len(fashion_mnist.CLASSES))
    n = min(len(images_NHW), len(labels_N))
    return ImageSetPart(images_NHW[:n, None], labels_N[:n].to(torch.int64))


def _check_labels(labels_N: Tensor, path: Path, findings: Issues, *, classes: int) -> None:
    wrong = (labels_N >= classes).nonzero().flatten().tolist()
    findings.add_all(
        LABEL, len(wrong), lambda i: f"{path}: image {wrong[i]} has the label {int(labels_N[wrong[i]])}"
    )
