"""A node of a cell on a processor, by kernels: what is in it, how it is computed, and its gradients."""
