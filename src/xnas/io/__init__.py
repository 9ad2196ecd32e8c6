"""Files, safely: atomic writes, bounded reads, JSON, TOML, tensors, errors and exit codes.

Knows nothing of xnas: no settings, no run folders, no networks.
"""
