"""Data, training loop, weight cache and recovery."""
