"""Data sets by name: their files, downloads and readers.

A new set is a module here and a line of data/names.py.
"""
