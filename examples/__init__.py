"""Runnable examples; every one of them is a test."""
