"""Plugins: found by entry points, loaded behind a fence, and what they bring, by name."""
