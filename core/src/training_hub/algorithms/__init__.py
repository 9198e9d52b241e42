"""One file an algorithm: its parameters, its class, its function."""

from training_hub.algorithms.algorithm import Algorithm

__all__ = ["Algorithm"]
