"""The HTTP trigger: POST events, get the report; its page and openapi.json are data files of this room.

May import batch, transforms, engine, formats, storage, model; only cli imports this.
"""
