"""Readers of runs: what `training-hub runs`, `watch`, `plot` and `report` show. None of them writes into a run's files."""
