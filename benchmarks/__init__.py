"""Measures of speed and memory on clips made here."""
