"""Outgoing requests to addresses that callers send."""
