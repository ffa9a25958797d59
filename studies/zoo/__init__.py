"""How much of other people's networks is emulated, and how well."""
