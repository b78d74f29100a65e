"""Files on this machine and objects in buckets: finding, reading, compression, atomic writes, temporary files.

May import schema and errors only.
"""
