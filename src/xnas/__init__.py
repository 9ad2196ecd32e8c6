"""Neural architecture search with expert advice, for PyTorch."""
