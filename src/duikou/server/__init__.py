"""HTTP only: the contract's wire format, its routes and files, and one table of codes."""

from duikou.server.app import create_app, serve

__all__ = ["create_app", "serve"]
