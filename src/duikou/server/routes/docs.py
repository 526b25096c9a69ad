"""The OpenAPI document and a page that shows it, all from this server and for anyone: no key, no CDN."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from duikou.server.openapi import document

# The package that carries Swagger UI; nothing else of it is used.
SWAGGER = ("fastapi_standalone_docs", "static/swagger")
# No script, style or connection from elsewhere, and none that stands in the page. Swagger UI's icons are data: and
# pictures in answers blob: addresses.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Addresses are relative: a proxy may serve all this under a path of its own.
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>duikou</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# validatorUrl: unset, Swagger UI would send the document's address to a validator on the internet.
START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
});
"""

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def openapi_json(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(document(request.app))


@router.get("/docs")
async def page(request: Request) -> Response:
    """The document for people."""
    if request.scope["raw_path"].endswith(b"/"):  # relative addresses would lead elsewhere
        return RedirectResponse("../docs")
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """What starts Swagger UI on the page."""
    return Response(START, media_type="text/javascript")


def install(app: FastAPI) -> None:
    """Give an application the document, the page and its parts."""
    app.include_router(router)
    app.mount("/docs/swagger", StaticFiles(packages=[SWAGGER]))
