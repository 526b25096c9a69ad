"""Rendering of mouth motion: exemplars, warp, mouth interior, compositing."""
