"""Measures what joints are worth to a model, and how far runs agree."""
