"""Tests of the energy model."""
