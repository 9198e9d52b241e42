"""A backend that trains nothing: it returns what it was given, so that tests can look at it."""

from typing import Any, ClassVar

from training_hub import Backend


class ExampleBackend(Backend):
    """Returns its parameters."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft", "dpo")

    def execute_training(self, algorithm_params: dict[str, Any]) -> Any:
        return algorithm_params
