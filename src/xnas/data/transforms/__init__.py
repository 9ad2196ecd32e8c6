"""Random transforms of training batches: crops, flips, cutout, AutoAugment.

Draws by address alone (data/rng.py), never from a global generator.
"""
