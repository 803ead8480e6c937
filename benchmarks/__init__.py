"""Measure what the package promises, a question a script: `python -m benchmarks.planted --help`."""
