"""The methods that learn architecture weights: XNAS, and a module for each baseline.

Knows forecasters and experts, and nothing of trainers, data or settings.
"""
