"""A demo that needs only the packages: it makes its own input, and the real server does the work."""
