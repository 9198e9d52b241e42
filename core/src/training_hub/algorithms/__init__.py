"""One file an algorithm: its parameters, its class, its function."""

from training_hub.algorithms.base import Algorithm
from training_hub.compat.names import attributes_of

__all__ = ["Algorithm"]

__getattr__ = attributes_of(__name__)
