"""From a stream of bytes to blocks, from blocks to batches: JSON Lines, JSON arrays, Parquet, messages. No Beam.

May import storage, model and native. Callers open the streams.
"""
