"""Hubble 0.1, both sides, after its specification; it shares nothing with culvert."""
