"""Data sets, augmentation, sample order."""
