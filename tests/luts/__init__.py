"""Tests of luts."""
