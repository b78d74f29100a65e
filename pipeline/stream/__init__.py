"""The stream: what it watches, its graph in hourly windows, its state, and a run of it until it is stopped.

May import transforms, engine, formats, storage, model, native; not batch, which does not import this either.
"""
