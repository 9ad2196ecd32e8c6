"""Labelled images: in memory or in files, the split, the loader and the transforms.

Knows nothing of networks, settings or run folders.
"""
