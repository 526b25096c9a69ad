"""The OpenAPI document and a page that shows it: served by this server alone, without a CDN, and without a key."""

from __future__ import annotations

import json

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from duikou.server.openapi import document, tag_of
from duikou.server.routes.lip_sync import PREFIXES

# The package that contains Swagger UI; nothing else of it is used.
SWAGGER = ("fastapi_standalone_docs", "static/swagger")
# No script, style or connection from elsewhere, and no inline script or style. Swagger UI's icons are data: URIs, and
# pictures in answers blob: URIs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# URLs are relative: a proxy may serve the page under another path.
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
# validatorUrl: if unset, Swagger UI sends the document's URL to a validator on the internet.
# onComplete: shows each call once. The same calls under other prefixes are folded, and open with a click.
START = """\
const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  onComplete: () => {
    for (const tag of FOLDED) ui.layoutActions.show(["operations-tag", tag], false);
  },
});
""".replace("FOLDED", json.dumps([tag_of(prefix) for prefix in PREFIXES if prefix]))

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def openapi_json(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(document(request.app))


@router.get("/docs")
async def page(request: Request) -> Response:
    """The page that shows the document."""
    if request.scope["raw_path"].endswith(b"/"):  # relative URLs would not resolve
        return RedirectResponse("../docs")
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """The script that starts Swagger UI."""
    return Response(START, media_type="text/javascript")


def install(app: FastAPI) -> None:
    """Add the document, the page and its assets to an application."""
    app.include_router(router)
    app.mount("/docs/swagger", StaticFiles(packages=[SWAGGER]))
