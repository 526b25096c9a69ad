"""Check that the server or worker of this container answers: exit status 0 if it does."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4  # below the 5 s that the image's HEALTHCHECK waits

port = int(os.environ.get("DUIKOU_WORKER_METRICS_PORT") or os.environ.get("DUIKOU_PORT") or 8000)
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
try:
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
except OSError as error:
    sys.exit(f"nothing answers on port {port}: {error}")
if status != http.HTTPStatus.OK:
    sys.exit(f"/healthz on port {port} answers {status}")
