"""One run: trainers, the loop, checkpointing, ranks and devices.

The only folder that touches devices and ranks.
"""
