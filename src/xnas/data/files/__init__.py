"""Images in files: listing a folder, decoding, and processes that read while training.

Knows paths and pixels, and nothing of named data sets.
"""
