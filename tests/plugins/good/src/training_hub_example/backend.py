"""A backend that trains nothing: it returns what it was given, so that tests can look at it."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from typing_extensions import TypedDict

from training_hub.plugin import Backend, Param


class ExampleParameters(TypedDict, total=False):
    """Of the example."""

    patience: Annotated[int, Ge(1), Param(3, "How often the example tries.")]


class ExampleBackend(Backend):
    """Returns its parameters."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft", "votes")
    parameters: ClassVar[type | None] = ExampleParameters

    def execute_training(self, algorithm_params: dict[str, Any]) -> Any:
        return algorithm_params
