"""Compiled code: the loader, the compiler (numba, only here), the JSON scanner, sets of ids.

May import schema and errors. Nothing here knows Beam.
"""
