"""Is a searched assignment better than the best fixed multiplier, at equal accuracy?"""
