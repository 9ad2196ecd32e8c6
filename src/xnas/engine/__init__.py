"""Search, retraining and evaluation: the only place that touches devices, disk and signals."""
