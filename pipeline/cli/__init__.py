"""The command lines: options, the checks before a run, messages and exit codes.

May import everything below: serving, batch, stream, transforms, engine, formats, storage, model, native. Nothing
imports this package. Names of options (`--input`) stand only here.
"""
