"""Which cheap estimate of a choice's harm ranks whole assignments best?"""
