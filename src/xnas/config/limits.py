"""Bounds of the settings: far above what anybody trains, so that a stranger's file cannot ask for work without end."""

from xnas.io.text import printable, short_repr
from xnas.space.names import SEARCHABLE

MOST_CELLS = 200


MOST_CHANNELS = 4096


MOST_WIDTH = 65_536
"""Channels of the last cells: each reduction doubles them."""

MOST_OPERATIONS = 20_000
"""Operations of a supernet; that of DARTS has 784."""

MOST_BATCH = 2**20


MOST_PIXELS = 4096
"""Pixels of a side of an image."""


MOST_TRAINED = 1024
"""Pixels of a side to train on: twice that of the largest that are tried."""

LEAST_DECODE, MOST_DECODE = 0.001, 1024.0
"""GiB of memory for decoding images."""

MOST_SEED = 10**15
"""Controls are drawn by seeds a hundred times as large, which torch takes up to 2**63."""

SMALLEST, LARGEST = 1e-12, 1e9
"""Bounds of rates and of the norms at which gradients and rewards are clipped: their squares must neither overflow
nor vanish."""

LONGEST_TEXT = 1000
"""Characters of a setting that is text."""


def check_range(name: str, value: int, least: int, most: int) -> None:
    """Raise ValueError for a number that is smaller or larger."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {short_repr(value)}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}; got {short_repr(value)}")


def check_scale(name: str, value: float) -> None:
    """Raise ValueError for what is no positive number between SMALLEST and LARGEST."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive and finite; got {value}")
    if not SMALLEST <= value <= LARGEST:
        raise ValueError(f"{name} must lie between {SMALLEST:g} and {LARGEST:g}; got {value}")


def check_decode_memory(name: str, gib: float) -> None:
    """Raise ValueError for a budget of memory in which no image, or more than a machine has, could be decoded."""
    if not LEAST_DECODE <= gib <= MOST_DECODE:
        raise ValueError(f"{name} must lie between {LEAST_DECODE:g} and {MOST_DECODE:g} GiB; got {gib}")


def check_text(name: str, value: str) -> None:
    """Raise ValueError for text that is long or has control characters in it."""
    if printable(value) != value or len(value) > LONGEST_TEXT:
        raise ValueError(
            f"{name} must be plain text of at most {LONGEST_TEXT} characters; got {short_repr(value)}"
        )


def check_stack(section: str, channels: int, cells: int, reductions: int) -> None:
    """Raise ValueError for a shape of a network that does not fit together, or that nobody could train."""
    check_range(f"{section}.channels", channels, 1, MOST_CHANNELS)
    check_range(f"{section}.cells", cells, 1, MOST_CELLS)
    check_range(f"{section}.reductions", reductions, 0, MOST_CELLS)
    if reductions > cells:
        raise ValueError(
            f"{section}.reductions = {reductions} do not fit into {section}.cells = {cells}; "
            "use fewer reductions or more cells"
        )
    if channels * 2**reductions > MOST_WIDTH:
        raise ValueError(
            f"{section}.channels = {channels}, doubled by each of {section}.reductions = {reductions}, become more "
            f"than {MOST_WIDTH:,}; use fewer of either"
        )


def check_nasbench201(section: str, nodes: int, cells: int, reductions: int, stem: str) -> None:
    """Raise ValueError for what the space of NAS-Bench-201 does not have."""
    if nodes != 3:
        raise ValueError(
            f"{section}.nodes must be 3 in nasbench201; got {nodes}; --preset nasbench201 has it so"
        )
    if cells % (reductions + 1):
        raise ValueError(
            f"{section}.cells = {cells} do not spread evenly over the {reductions + 1} stages that "
            f"{section}.reductions = {reductions} make in nasbench201; use a multiple of {reductions + 1}"
        )
    if stem == "imagenet":
        raise ValueError(f"{section}.stem must be cifar or strided in nasbench201; got imagenet")


def check_supernet(*, cells: int, nodes: int, experts: int) -> None:
    """Raise ValueError for a search space that nobody could search."""
    if experts > len(SEARCHABLE):
        raise ValueError(
            f"space.experts names {experts:,} operations, but there are {len(SEARCHABLE)}; name each once at most"
        )
    edges = nodes * (nodes + 3) // 2
    if cells * edges * experts > MOST_OPERATIONS:
        raise ValueError(
            f"space: {cells} cells of {edges} edges, each with {experts} experts, are more than a supernet takes, "
            f"{MOST_OPERATIONS:,} operations; use fewer cells, nodes or experts"
        )


MOST_EPOCHS = 100_000
"""Epochs of a search or a training."""

MOST_CONTROLS = 1000


MOST_SIDE = 65_536
"""Pixels of a side of an image that a file may claim."""


MOST_BORDER = 0.5
"""Share of each side that is cut off, with which nothing is left."""

PRECISIONS = ("float32", "bfloat16")
"""Types of a network's features; weights, statistics of norms, losses and rewards are float32 always."""
