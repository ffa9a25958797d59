"""Analytic cost of an assignment."""
