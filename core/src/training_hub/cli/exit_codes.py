"""How the command ends."""

FAILED = 1
"""A run failed, or something went wrong that nobody expected."""
MISTAKE = 2
"""The request cannot be carried out as asked."""
INTERRUPTED = 130
"""As shells have it for Ctrl-C."""
