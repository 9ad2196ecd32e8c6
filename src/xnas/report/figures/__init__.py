"""Figures: values in, matplotlib figures out, as SVG and PNG.

Knows no run folder's files and no HTML.
"""
