"""Launchers: how the processes of a run are described, and started."""
