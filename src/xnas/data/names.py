"""The names of the data sets."""

SHIPPED = "fashion-mnist-small"
"""The data set that comes with xnas."""

DATA_SETS = (
    SHIPPED,
    "fashion-mnist",
    "cifar10",
    "cifar100",
    "svhn",
    "imagenet",
    "tiny-imagenet",
    "imagenette",
    "cinic10",
    "cinic10-enlarged",
    "freiburg",
)
"""The data sets that are known by name."""
