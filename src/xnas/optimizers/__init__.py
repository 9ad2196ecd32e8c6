"""How architecture weights are learned: XNAS, and one file for every rival."""
