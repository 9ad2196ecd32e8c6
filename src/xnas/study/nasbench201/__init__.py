"""The table of NAS-Bench-201, and what a search's cells reach in it."""
