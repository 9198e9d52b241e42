"""What the older package of this import name had, at most 0.11: where it is now, or what to use instead."""
