"""The `duikou` command."""
