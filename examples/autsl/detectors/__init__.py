"""Finds joints in the frames of a video; each module has a detector, and all have one interface."""
