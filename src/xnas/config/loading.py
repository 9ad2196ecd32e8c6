"""Settings from presets, TOML files and run folders. Unknown keys and wrong types are errors."""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Any, get_origin

import dacite

from xnas.config.limits import LONGEST_TEXT
from xnas.config.schema import Config, Settings, _number
from xnas.io.paths import expanded
from xnas.io.text import choose, short_repr
from xnas.io.toml import parse_toml, read_settings_text


def preset_names() -> tuple[str, ...]:
    """Return the presets that ship with xnas."""
    files = resources.files("xnas.config").joinpath("presets").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def read_preset(name: str, *, base: Config | None = None) -> Config:
    """Return the settings of a preset; what it leaves out is as in `base`. Raises ValueError for an unknown name."""
    known = choose("preset", name, preset_names())
    text = resources.files("xnas.config").joinpath("presets", f"{known}.toml").read_text(encoding="utf-8")
    return parse_config(text, where=f"preset {known}", base=base)


def read_config(path: Path, *, base: Config | None = None) -> Config:
    """Return the settings of a TOML file; what it leaves out is as in `base`.

    Raises ValueError for a file that is missing, too long, is not TOML, or has an unknown key or a wrong value.
    """
    return parse_config(read_settings_text(expanded(path)), where=str(path), base=base)


def parse_config(text: str, *, where: str, base: Config | None = None) -> Config:
    """Return the settings in TOML text; errors name `where` it came from."""
    return settings_from(parse_toml(text, where=where), where=where, base=base or Config())


def settings_from(given: dict[str, Any], *, where: str, base: Settings, section: str = "") -> Settings:
    """Settings of the kind of `base`, from what TOML says in a `section`; what it leaves out is as in `base`.

    Raises ValueError, naming `where` it came from, for an unknown key or a wrong value.
    """
    kind = type(base)
    check_keys(kind, given, where=where, prefix=section)
    merged = _merge(dataclasses.asdict(base), given)  # type: ignore[call-overload]
    try:
        return dacite.from_dict(
            kind,
            merged,
            config=dacite.Config(strict=True, cast=[tuple], type_hooks={Path: Path, float: _number}),
        )
    except (dacite.DaciteError, TypeError, ValueError, OverflowError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"{where}: {said if len(said) <= LONGEST_TEXT else said[:LONGEST_TEXT] + '...'}"
        ) from error


def check_keys(kind: Any, given: dict[str, Any], *, where: str, prefix: str = "") -> None:
    """Raise ValueError, naming `where` it came from, for a key that settings of this kind do not have."""
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for key, value in given.items():
        try:
            choose("setting", key, tuple(fields))
        except ValueError as error:
            raise ValueError(f"{where}: {f'in [{prefix}], ' if prefix else ''}{error}") from error
        section = fields[key].type
        if dataclasses.is_dataclass(section):
            if not isinstance(value, dict):
                raise ValueError(f"{where}: {key!r} is a section; write [{key}] and its settings below it")
            check_keys(section, value, where=where, prefix=f"{prefix}.{key}".lstrip("."))
        elif get_origin(section) is tuple and not isinstance(value, list):
            name = f"{prefix}.{key}".lstrip(".")
            raise ValueError(
                f"{where}: {name} must be a list, such as [{short_repr(value)}]; got {short_repr(value)}"
            )
        elif isinstance(value, bool) and section is not bool:  # True is an int to Python
            name = f"{prefix}.{key}".lstrip(".")
            raise ValueError(f"{where}: {name} is not a switch; got {str(value).lower()}")


def _merge(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _merge(base[key], given[key])
        if isinstance(base.get(key), dict) and isinstance(given.get(key), dict)
        else given.get(key, base.get(key))
        for key in (*base, *(key for key in given if key not in base))  # a table of free keys may start empty
    }
