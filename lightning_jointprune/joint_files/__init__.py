"""Files that hold the kept joints alone, and what has to run to find these."""
