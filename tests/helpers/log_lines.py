"""What xnas logs, kept as the command line would print it."""

import logging
from typing import Self


class LogLines(logging.Handler):
    """Within it, keeps the lines that xnas logs."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        self.said.append(f"{mark}{record.getMessage()}")

    def __enter__(self) -> Self:
        logger = logging.getLogger("xnas")
        self.before = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logger = logging.getLogger("xnas")
        logger.removeHandler(self)
        logger.setLevel(self.before)
