"""Multipliers: what they are, what they cost, and how to multiply with them fast."""
