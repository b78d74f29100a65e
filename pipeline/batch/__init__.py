"""The batch: its job, its graph, and a run of it with its checks.

May import transforms, engine, formats, storage, model, native; not stream, which does not import this either.
"""
