"""Mouth motion onto pixels: exemplars, warp, mouth interior, blend."""
