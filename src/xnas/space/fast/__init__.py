"""Faster ways to compute a cell's nodes, each equal to the plain one; README.md says when each is taken.

Knows operations and mixtures, and nothing of optimizers.
"""
