"""A long run over damaged media files: `make fuzz`."""
