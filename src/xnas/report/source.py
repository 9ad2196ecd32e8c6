"""What a report calls the images that a run was made with."""

from pathlib import Path


def source_name(source: str) -> str:
    """A data set's name as it is, a folder's without where it is: ".../mine". A report is passed on, a disk is not."""
    return source if Path(source).name == source else f".../{Path(source).name}"
