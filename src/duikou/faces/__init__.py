"""Frames to face tracks: find, follow and measure faces."""
