"""Pruning: which weights matter, how many go, and masks that hold through any training."""
