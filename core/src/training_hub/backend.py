"""What a backend is: the adapter that carries an algorithm out with one framework."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from training_hub.parameters.resolution import Parameters
    from training_hub.runs.result import TrainingResult
    from training_hub.runs.run import Run
    from training_hub.translation import Translation


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run on this machine."""

    available: bool
    reason: str = ""
    """Why not, and what mends it; or a remark on what is used."""


class Backend(ABC):
    """Carries algorithms out. The simplest backend writes `execute_training` and nothing else."""

    name: str = ""
    """The name it is registered under."""
    algorithms: ClassVar[tuple[str, ...]] = ()
    """Algorithms that it carries out."""
    framework: ClassVar[str | None] = None
    """The distribution that does the work, whose version is shown."""
    chosen_because: str = "given as an object"
    """Why this backend carries the run out, for the log and the manifest."""

    def availability(self) -> Availability:
        """Whether it can run here; quick, without importing the framework."""
        return Availability(True)

    def carry_out(self, parameters: Parameters) -> Any:
        """Train with resolved parameters; the result reaches the caller as it is."""
        return self.execute_training(parameters.for_backend())

    @abstractmethod
    def execute_training(self, algorithm_params: dict[str, Any]) -> Any:
        """Train.

        Args:
            algorithm_params: Every parameter of the algorithm that has a value, defaults included, and every further
                keyword of the call.
        """


class FrameworkBackend(Backend):
    """A backend whose parameters are translated and checked before anything is spent, and whose run is recorded."""

    controls: ClassVar[frozenset[str]] = frozenset()
    """What can be asked of it while it trains, of `stop`, `save` and `set_learning_rate`."""
    callbacks_on_ranks: ClassVar[bool] = False
    """Whether its processes call callbacks that run on all ranks, by `training_hub.callbacks.ranks`."""

    @abstractmethod
    def translate(self, parameters: Parameters) -> Translation:
        """Say what becomes of every parameter. Pure: no GPU, model, network or file is touched."""

    @abstractmethod
    def train(self, run: Run) -> TrainingResult:
        """Carry out a run whose request has been checked."""

    def carry_out(self, parameters: Parameters) -> TrainingResult:
        from training_hub.runs.run import carry_out

        return carry_out(self, parameters)

    def execute_training(self, algorithm_params: dict[str, Any]) -> TrainingResult:
        """Train with unchecked parameters of the backend's first algorithm."""
        from training_hub.registry import AlgorithmRegistry

        algorithm = AlgorithmRegistry.get_algorithm(self.algorithms[0])
        result: TrainingResult = algorithm(self).train(**algorithm_params)
        return result
