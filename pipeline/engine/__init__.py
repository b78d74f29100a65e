"""Code that depends on Beam internals: DoFn base classes, coders, spill, runners, metrics, Dataflow, Prism.

The only package that may import apache_beam.runners. May import formats, storage, model, native.
"""
