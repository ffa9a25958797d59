"""Does it pay that every expert may have circuits of its own?"""
