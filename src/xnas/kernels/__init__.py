"""C++ kernels for the operations in which a supernet spends its time on a CPU: tensors in, tensors out.

They know nothing of networks."""
