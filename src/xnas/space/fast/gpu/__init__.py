"""The experts of a node in few launches: convolutions in groups, norms and mixture in one piece."""
