"""Settings: frozen dataclasses that check themselves, their limits, presets and TOML.

Knows names of methods, spaces and data sets, and neither torch nor files of a run.
"""
