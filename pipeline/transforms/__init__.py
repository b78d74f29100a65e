"""PTransforms for batch and stream pipelines: read, decode, count, ids, deduplicate, write. No logic of their own.

May import engine, formats, storage, model, native.
"""

from pipeline.engine import coders as coders  # registers the coders
