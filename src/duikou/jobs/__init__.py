"""Sessions and tasks: what was asked, where it stands, and the child processes that do it. Knows no wire format."""
