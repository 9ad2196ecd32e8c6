"""The mathematics of prediction with expert advice: tensors in, tensors out; knows nothing of networks."""
