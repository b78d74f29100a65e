"""server.py with its page in front, for as long as server.py does not serve the page itself."""

import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import bottle  # noqa: E402

import server  # noqa: E402

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
make_app = server.make_app


def make_app_with_page(*arguments: object) -> bottle.Bottle:
    app = make_app(*arguments)  # type: ignore[arg-type]

    @app.get("/")
    @app.get("/<name:re:app.js|style.css>")
    def page(name: str = "index.html") -> bottle.HTTPResponse:
        answer = bottle.static_file(name, ROOT / "web")
        answer.set_header("Content-Security-Policy", POLICY)
        answer.set_header("X-Content-Type-Options", "nosniff")
        return answer

    return app


if __name__ == "__main__":
    with mock.patch.object(server, "make_app", make_app_with_page):
        sys.exit(server.main())
