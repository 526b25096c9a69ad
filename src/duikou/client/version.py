"""The version of the distribution `duikou-client`, which is that of `duikou`."""

__version__ = "0.1.0"
