"""Sound to mouth motion."""
