"""The page at `/`: static files that the server sends as they are (docs/architecture/09-studio.md)."""
