"""A demonstration that needs nothing but the packages: its input is made here, its work is done by the real server."""
