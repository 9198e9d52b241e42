"""Readers of runs: `training-hub runs`, `watch`, `plot`, `report`. None of them writes into a run's own files."""
