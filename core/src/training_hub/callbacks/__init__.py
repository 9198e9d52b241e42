"""The user's callbacks: what they are, and how a run calls them, in the caller's process and on every rank."""

from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext

__all__ = ["TrainingHubCallback", "TrainingHubContext"]
