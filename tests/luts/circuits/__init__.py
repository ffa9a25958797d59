"""Tests of luts.loading, one file a format."""
