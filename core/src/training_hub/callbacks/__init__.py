"""The user's callbacks: what they are, and how a run calls them, in the caller's process and on every rank."""

from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext, TrainingHubControl
from training_hub.compat.names import attributes_of

__all__ = ["TrainingHubCallback", "TrainingHubContext", "TrainingHubControl"]

__getattr__ = attributes_of(__name__)
