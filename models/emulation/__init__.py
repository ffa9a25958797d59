"""Quantisation, sites, assignments and the emulated network."""
