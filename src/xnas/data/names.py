"""The data sets, by name. A new one is a module of data/sets/ with a function that reads it, and one line here.

The function takes the folder where the files are, or None, and `download`; it returns a DataSet.
"""

SHIPPED = "fashion-mnist-small"
"""The data set that comes with xnas."""

READERS = {
    "fashion-mnist": "fashion_mnist.read_fashion_mnist",
    "cifar10": "cifar.read_cifar10",
    "cifar100": "cifar.read_cifar100",
    "svhn": "svhn.read_svhn",
}
"""Module and function that read each set of arrays."""

FOLDER_SETS = ("imagenet", "tiny-imagenet", "imagenette", "cinic10", "cinic10-enlarged", "freiburg")
"""Sets of image files, which data/sets/known_folders.py describes."""

DATA_SETS = (SHIPPED, *READERS, *FOLDER_SETS)
