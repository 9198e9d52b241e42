"""A plugin that fails on import, as one does whose framework has moved a name."""

raise ImportError("cannot import name 'Trainer' from 'some_framework'")
