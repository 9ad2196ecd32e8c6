"""What a supernet computes most, in C++ for processors: tensors in, tensors out; knows nothing of networks."""
