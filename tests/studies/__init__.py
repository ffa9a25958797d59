"""Tests of the studies' own arithmetic."""
