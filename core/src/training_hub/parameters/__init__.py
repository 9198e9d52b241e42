"""Parameters: declared once, resolved and checked, described."""

from training_hub.parameters.declaration import REQUIRED, Derived, Param, Parameter, declared
from training_hub.parameters.resolution import Contradiction, Parameters, resolve

__all__ = ["REQUIRED", "Contradiction", "Derived", "Param", "Parameter", "Parameters", "declared", "resolve"]
