"""What a run shows: cost, metrics, pictures, the page."""
