"""Writes and reads files that hold the kept joints alone, and plans their extraction."""
