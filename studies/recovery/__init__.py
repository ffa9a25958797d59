"""What brings an approximated network back, and what it costs."""
