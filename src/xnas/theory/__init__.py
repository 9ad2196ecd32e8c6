"""Games between experts, and the behaviours that sections 3.2 and 4 claim: each as numbers, a picture and a text."""
