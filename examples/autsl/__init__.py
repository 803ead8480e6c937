"""AUTSL: its data, encoders and study. `examples/autsl_fusion.py` is the program that trains."""
