"""The run folder: every file of it is written and read here.

Knows settings and genotypes, and nothing of trainers or pages.
"""
