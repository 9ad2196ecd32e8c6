"""Lazy registries: tables that say where an object is, so that its module is imported when it is first asked for."""

import importlib
from typing import Any


def import_from(package: str, home: str) -> Any:
    """Import `home`, "module.name" below `package`. Only for tables of this source, never for a name from a file."""
    module, _, name = home.rpartition(".")
    return getattr(importlib.import_module(f"{package}.{module}"), name)
