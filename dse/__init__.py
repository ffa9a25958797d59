"""The search for assignments."""
