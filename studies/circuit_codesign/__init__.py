"""Does searching the circuit pay, and does a cut array beat a narrower exact multiplier?"""
