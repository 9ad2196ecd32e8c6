"""Numbers and durations as a page shows them."""

from pathlib import Path


def duration(seconds: float) -> str:
    """Such as 12.3 s, 4 min 10 s, 3 h 5 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def source_name(source: str) -> str:
    """A data set's name as it is, a folder's without where it is: ".../mine". A report is passed on, a disk is not."""
    return source if Path(source).name == source else f".../{Path(source).name}"
