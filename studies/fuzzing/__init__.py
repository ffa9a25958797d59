"""Do readers of foreign files ever end in another error than the documented one?"""
