"""Bytes to frames and sound, and back: fetch, sniff, probe, decode, mix, encode, mux."""
