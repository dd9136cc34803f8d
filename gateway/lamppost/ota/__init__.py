"""Signed configuration: verified → trial → confirmed or reverted. Nothing in it is ever executed.

Empty so far: a gateway runs the site file it was started with.
"""
