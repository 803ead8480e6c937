"""The study: encoders, numbers of joints and seeds, cell by cell, and its tables."""
