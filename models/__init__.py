"""Networks, topologies, approximate layers, training and data."""
