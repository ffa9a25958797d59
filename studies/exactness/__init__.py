"""Do the fast ways to multiply agree with look-ups over a thousand million products?"""
