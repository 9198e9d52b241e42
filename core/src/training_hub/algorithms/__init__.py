"""One file an algorithm: its parameters, its class, its function."""

from training_hub.algorithms.base import Algorithm

__all__ = ["Algorithm"]
