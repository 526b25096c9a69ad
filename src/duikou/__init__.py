"""Lip sync that anyone can run."""
