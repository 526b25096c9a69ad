"""HTTP only: wire schemas, routes, codes, files."""
