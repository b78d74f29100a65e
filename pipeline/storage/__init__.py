"""Files on this machine and objects in buckets: finding, reading, compression, files that appear whole.

May import schema and errors only.
"""
