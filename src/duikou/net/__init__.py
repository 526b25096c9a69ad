"""Outgoing requests to addresses that callers send, and the addresses of this machine."""
