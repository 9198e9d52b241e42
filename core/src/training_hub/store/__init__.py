"""What is written on disk and read by several processes: the run's directory, events, checkpoints, manifest, lock."""
