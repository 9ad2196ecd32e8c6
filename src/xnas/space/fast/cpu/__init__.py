"""The experts of a node in few passes over memory, by the kernels for processors."""
