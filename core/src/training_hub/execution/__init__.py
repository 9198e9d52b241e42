"""The caller's process: carries a run through, records it, and tells callbacks and trackers."""
