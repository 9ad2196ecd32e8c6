"""The names of the methods that learn the architecture weights of a search."""

METHODS = (
    "xnas",
    "paper",
    "gd",
    "momentum",
    "darts",
    "darts-2nd",
    "gaea",
    "snas",
    "gdas",
    "asap",
    "random",
)
"""What can learn the architecture weights of a search."""
