"""Media files to frames and audio, and back: sniff, probe, decode, mix, encode, mux."""
