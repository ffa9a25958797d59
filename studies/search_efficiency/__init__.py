"""How many evaluations does each sampler need for the same front?"""
