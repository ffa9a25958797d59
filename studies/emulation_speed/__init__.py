"""How fast is exact emulation, against the float network and against looking products up?"""
