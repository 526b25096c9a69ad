"""The transport under the routes: connections, middleware and request bodies."""
