"""What is computed: events, batches, tables of counts, sets of ids, tallies. Plain functions and numpy, no Beam.

May import native, schema and errors.
"""
