"""Does an independent accelerator cost model rank assignments as the energy model does?"""
