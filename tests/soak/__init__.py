"""`make soak`: half an hour of honest and hostile callers at once, on the real server with real work."""
