"""The HTTP server: routes, request and answer formats, error codes, files."""

from duikou.server.app import create_app, serve

__all__ = ["create_app", "serve"]
