"""SVHN (Netzer et al. 2011), cropped digits: 73,257 + 26,032 colour images of 32 x 32 pixels of house numbers.

A file is MATLAB's: X, uint8 of shape (32, 32, 3, N), and y, the digits, with 10 for 0. The 531,131 further images of
the set, which are easier, are left out. N: images of a file; C H W: channels, height, width.
"""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xnas.data.images import DataSet, ImageSet
from xnas.data.sets.download import fetch
from xnas.io.safe_read import read_regular

CLASSES = tuple("0123456789")
URL = "http://ufldl.stanford.edu/housenumbers/"
FILES = {
    "train_32x32.mat": (182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
    "test_32x32.mat": (64_275_384, "eb5a983be6a315427106f1b164d9cef3"),
}
"""Bytes and md5 of the published files."""
MOST_BYTES = 400_000_000
"""Bytes of a file."""


def read_svhn(root: Path | None, *, download: bool) -> DataSet:
    """Return the set from `root` or `root`/svhn; `root` is by default the folder data.

    With `download` the files are brought to `root`/svhn if they are missing. Raises ValueError, saying what to do, if
    they cannot be had or are damaged, or scipy is not installed.
    """
    _loadmat()  # before anything is downloaded
    home = Path("data") if root is None else root
    places = (home / "svhn", home)
    place = next((place for place in places if all(os.path.isfile(place / name) for name in FILES)), None)
    if place is None:
        place = places[0]
        if not download:
            missing = next(name for name in FILES if not os.path.isfile(place / name))
            raise ValueError(
                f"svhn: there is no {missing} in {' or '.join(map(str, places))}; point --data.root to the folder that "
                "holds it, or add --data.download (246 MB)"
            )
        for name, (num_bytes, md5) in FILES.items():
            fetch(URL + name, place, md5=md5, num_bytes=num_bytes)
    train, test = (_read_set(place / name) for name in FILES)
    return DataSet(name="svhn", train=train, test=test)


def _read_set(path: Path) -> ImageSet:
    content = io.BytesIO(read_regular(path, what="images", most=MOST_BYTES))
    try:
        found = _loadmat()(content, variable_names=("X", "y"))
    except Exception as error:  # scipy raises errors of many kinds for damaged files
        raise ValueError(
            f"cannot read {path}: {' '.join(str(error).split()) or type(error).__name__}; fetch the file again"
        ) from error
    pixels, digits = found.get("X"), found.get("y")
    fits = (
        isinstance(pixels, np.ndarray)
        and isinstance(digits, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.shape[:-1] == (32, 32, 3)
        and digits.size == pixels.shape[-1]
        and digits.dtype.kind in "iuf"
    )
    if not fits:
        raise ValueError(
            f"{path} must hold X, bytes of shape (32, 32, 3, N), and y, N digits; is this the cropped digits of SVHN?"
        )
    digits_N = torch.from_numpy(np.ascontiguousarray(digits, dtype=np.int64).reshape(-1))
    wrong_N = (digits_N < 1) | (digits_N > 10)
    if wrong_N.any():
        first = int(wrong_N.nonzero()[0])
        raise ValueError(
            f"{path}: image {first} has the label {int(digits_N[first])}, but labels go from 1 to 10; bring the "
            "original file"
        )
    try:
        return ImageSet(
            images_NCHW=torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))),
            labels_N=digits_N % 10,
            classes=CLASSES,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _loadmat() -> Any:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ValueError("svhn needs the package scipy: pip install 'xnas[svhn]'") from error
    return loadmat
