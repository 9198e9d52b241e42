"""Experiment trackers: they follow the events of a run, from the caller's process, whichever backend trains."""
