"""Search spaces: forecasters, operations, cells, genotypes, supernets and networks.

Knows experts' weights only as tensors, and nothing of data or settings.
"""
