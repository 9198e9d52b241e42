"""A backend that the contract is tried on: a hand-written training loop, and ways to break it."""
