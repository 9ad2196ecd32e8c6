"""Games between experts, and the behaviours that sections 3.2 and 4 claim: numbers, picture, text.

Knows experts and optimizers, and no image.
"""
