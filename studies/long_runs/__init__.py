"""Does a long run lose anything when it is killed, and does it grow?"""
