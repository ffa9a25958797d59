"""What one fixed multiplier everywhere costs and keeps, in every topology, with error bars."""
