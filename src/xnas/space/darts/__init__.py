"""The search space of DARTS: normal and reduction cells.

A space is a module with a SearchSpace, and a line of space/registry.py.
"""
