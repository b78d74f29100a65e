"""All that leans on Beam's inner parts: DoFn base classes, coders, spill, runners, metrics, progress, Dataflow.

The only package that may import apache_beam.runners. May import formats, storage, model, native.
"""
