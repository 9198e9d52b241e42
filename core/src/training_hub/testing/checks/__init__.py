"""The checks by theme; `training_hub.testing.contract` puts them together."""
