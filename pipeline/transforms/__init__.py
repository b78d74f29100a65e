"""PTransforms for any pipeline, batch or stream: read, decode, count, ids, deduplicate, write. They only wire.

May import engine, formats, storage, model, native.
"""

from pipeline.engine import coders as coders  # registers how blocks and batches travel
