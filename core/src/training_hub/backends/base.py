"""What a backend is: the adapter that executes an algorithm with one framework."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from training_hub.backends.run import Run
    from training_hub.backends.translation import Translation
    from training_hub.parameters.resolution import Parameters
    from training_hub.store.result import TrainingResult


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run on this machine."""

    available: bool
    reason: str = ""
    """Why not, and what mends it; or a remark on what is used."""


class Backend(ABC):
    """Executes algorithms. The simplest backend writes `execute_training` and nothing else."""

    name: str = ""
    """The name it is registered under."""
    algorithms: ClassVar[tuple[str, ...]] = ()
    """Algorithms that it executes."""
    parameters: ClassVar[type | None] = None
    """Parameters of its own, declared as an algorithm's are: a `TypedDict`. They are taken beside the algorithm's when
    this backend trains, and shown by `--help`, `plan` and the schema."""
    framework: ClassVar[str | None] = None
    """The distribution that does the work, whose version is shown."""
    chosen_because: str = "given as an object"
    """Why this backend trains the run, for the log and the manifest."""

    def availability(self) -> Availability:
        """Whether it can run here; quick, without importing the framework."""
        return Availability(True)

    @abstractmethod
    def execute_training(self, algorithm_params: dict[str, Any]) -> Any:
        """Train.

        Args:
            algorithm_params: Every parameter of the algorithm that has a value, defaults included, and every further
                keyword of the call.
        """


class FrameworkBackend(Backend):
    """A backend whose parameters are translated and checked before anything is spent, and whose run is recorded.

    The hub visits it twice in a run: once to translate, once to train.
    """

    controls: ClassVar[frozenset[str]] = frozenset()
    """What can be asked of it while it trains, of `stop`, `save` and `set_learning_rate`."""
    callbacks_on_ranks: ClassVar[bool] = False
    """Whether its processes call callbacks that run on all ranks, by `RankCallbacks`."""

    @abstractmethod
    def translate(self, parameters: Parameters) -> Translation:
        """Say what becomes of every parameter. Pure: no GPU, model, network or file is touched.

        Raises:
            UserError: The parameters cannot be translated at all, such as more processes than there are devices. What
                is merely refused is in the translation.
        """

    @abstractmethod
    def train(self, run: Run) -> TrainingResult:
        """Train a run whose request has been checked; its directory is ready and locked.

        Raises:
            Exception: Whatever ended training; the hub records it and raises it as a `TrainingHubError`.
        """

    def execute_training(self, algorithm_params: dict[str, Any]) -> TrainingResult:
        """Train with unchecked parameters of the backend's first algorithm, as a script does that has no algorithm."""
        from training_hub import AlgorithmRegistry

        algorithm = AlgorithmRegistry.get_algorithm(self.algorithms[0])
        result: TrainingResult = algorithm(self).train(**algorithm_params)
        return result
