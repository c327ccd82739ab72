"""Interactive documents of the whole API at /docs: Swagger UI from a wheel, nothing from elsewhere."""

from importlib.resources import files

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

OPENAPI_URL = "/openapi.json"
KEPT_S = 86_400

# Swagger UI styles its elements inline and draws its icons from data addresses; nothing else is loosened.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_KINDS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pileway API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = f"""SwaggerUIBundle({{
  url: "{OPENAPI_URL}", dom_id: "#swagger-ui", deepLinking: true, persistAuthorization: false,
  displayRequestDuration: true, defaultModelsExpandDepth: 0,
}});
"""


def create_router() -> APIRouter:
    """The documents' page and its files."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def page() -> Response:
        return HTMLResponse(
            _PAGE, headers={"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
        )

    @router.get("/docs/start.js")
    def start() -> Response:
        return Response(_START, media_type="text/javascript; charset=utf-8")

    @router.get("/docs/{name}")
    def file(name: str) -> Response:
        if name not in _KINDS:
            raise HTTPException(404)
        content = files("fastapi_offline").joinpath("static", name).read_bytes()
        return Response(content, media_type=_KINDS[name], headers={"Cache-Control": f"max-age={KEPT_S}"})

    return router
