"""An algorithm that the core does not have: direct preference optimization."""

from typing import Annotated, ClassVar

from annotated_types import Gt
from typing_extensions import TypedDict

from training_hub import Algorithm
from training_hub.parameters import Param
from training_hub.parameters.groups import Common


class DPOOptions(TypedDict, total=False):
    """Direct preference optimization."""

    beta: Annotated[float, Gt(0), Param(0.1, "How closely the model stays to its reference.")]


class DPOParameters(Common, DPOOptions, total=False):
    """Parameters of `dpo`."""


class DPOAlgorithm(Algorithm):
    """Direct Preference Optimization (arXiv:2305.18290)."""

    name: ClassVar[str] = "dpo"
    parameters: ClassVar[type] = DPOParameters
    recommended_backends: ClassVar[tuple[str, ...]] = ("example",)
