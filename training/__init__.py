"""How the weights of the articulation network are made; not part of the installed package."""
