"""How the command ends."""

FAILED = 1
"""A run failed, or something went wrong that nobody expected."""
MISTAKE = 2
"""The request cannot be carried out as asked."""
INTERRUPTED = 130
"""As shells have it for Ctrl-C: a run was ended at once, or stopped with a checkpoint. By SIGTERM it is 143."""


class RunStopped(SystemExit):
    """A run was stopped before its end, and the person has been told."""
