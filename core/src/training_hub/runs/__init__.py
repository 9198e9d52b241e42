"""Runs: the directory, the events, the result."""
