"""Reports over HTTP: a WSGI application, gunicorn's settings for it, and the page.

May import batch, transforms, engine, formats, storage, model; only cli imports this.
"""

from typing import Any


def create_app() -> Any:
    """Returns the WSGI application with default settings, for any WSGI server that does not fork afterwards.

    For example `gunicorn --threads 8 "pipeline.serving:create_app()"`, without `--preload`: Beam is loaded here.
    """
    from pipeline.serving.settings import Settings
    from pipeline.serving.worker import start_app

    return start_app(Settings())
