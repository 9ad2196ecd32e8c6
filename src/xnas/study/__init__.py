"""Many runs in one table: a grid of variants and seeds, here or on Ray.

Starts runs through train/pipeline.py, and knows nothing of steps.
"""
