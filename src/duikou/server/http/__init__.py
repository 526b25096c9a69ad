"""Below the routes: connections, middleware and request bodies."""
