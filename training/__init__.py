"""Training of the articulation network; not part of the installed package."""
