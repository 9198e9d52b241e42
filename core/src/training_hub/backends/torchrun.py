"""A base for frameworks that train in processes of their own, started by torchrun."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from training_hub.backends.base import Availability, FrameworkBackend
from training_hub.backends.batches import processes
from training_hub.backends.devices import Devices, devices
from training_hub.backends.installation import installation_problem
from training_hub.backends.job import Job
from training_hub.backends.run import Run
from training_hub.backends.translation import Translation
from training_hub.launchers.alone import alone_here
from training_hub.launchers.plan import LaunchPlan, rendezvous
from training_hub.parameters.resolution import Parameters
from training_hub.plugins.catalog import ANYWHERE
from training_hub.store.outcome import Outcome
from training_hub.store.result import TrainingResult


class TorchrunBackend(FrameworkBackend):
    """Translates for processes that torchrun starts, starts them, and reads what came of it.

    A subclass names its `worker`, says what becomes of each parameter in `translated`, and where it likes does
    something before and after the processes. The worker's module ends with

        if __name__ == "__main__":
            run_worker(train)   # train(job: Job) -> Outcome | None
    """

    package: ClassVar[str]
    """The plugin's own distribution, whose requirements must be met."""
    worker: ClassVar[str]
    """The module that each process runs."""
    controls: ClassVar[frozenset[str]] = frozenset({"stop", "save", "set_learning_rate"})
    callbacks_on_ranks: ClassVar[bool] = True

    def availability(self) -> Availability:
        if problem := installation_problem(self.package):
            return Availability(False, problem)
        here = devices()
        if problem := self.device_problem(here):
            return Availability(False, problem)
        return Availability(True, f"on {here}")

    def device_problem(self, here: Devices) -> str | None:
        """Why it cannot train on these devices, and what can; None where it can."""
        if here.kind == "cuda":
            return None
        return f"{self.framework} needs an NVIDIA GPU, and there is {here}; backend {ANYWHERE!r} needs none"

    def environment(self, parameters: Parameters) -> Mapping[str, str]:
        """Variables of the processes, besides those of the caller."""
        return {}

    def translate(self, parameters: Parameters) -> Translation:
        here = devices()
        return self.translated(parameters, here, self.plan(parameters, processes(parameters, here)))

    def plan(self, parameters: Parameters, local: int) -> LaunchPlan:
        """The processes to start, `local` of them on this node."""
        return LaunchPlan(
            self.worker,
            local,
            parameters["nnodes"],
            parameters["node_rank"],
            rendezvous(parameters),
            environment=self.environment(parameters),
        )

    @abstractmethod
    def translated(self, parameters: Parameters, here: Devices, plan: LaunchPlan) -> Translation:
        """What becomes of every parameter, by `translate` of a table of rules; pure.

        Args:
            parameters: What to translate.
            here: The devices of this machine.
            plan: The processes that train; it belongs into the translation.
        """

    def before(self, run: Run, job: Job) -> None:
        """Called before the processes are started: to lay out what they need. An error ends the run."""

    def after(self, run: Run, job: Job) -> None:
        """Called when the processes have ended, however that was: to clear away."""

    def train(self, run: Run) -> TrainingResult:
        job = run.job()
        try:
            self.before(run, job)
            return train_job(run, job)
        finally:
            self.after(run, job)


def train_job(run: Run, job: Job, here: Callable[[Job], Outcome] | None = None) -> TrainingResult:
    """Train in the processes that the run's translation asks for, or in this one where it asks for none.

    Args:
        run: The run.
        job: Its job.
        here: Trains in this process.

    Raises:
        TrainingHubError: A process failed; the message has its rank, its error and the log's path.
    """
    plan = run.translation.launch
    if plan is None:
        assert here is not None
        with alone_here():
            outcome = here(job)
        job.tell_unread()
        return outcome.result(run.backend, run.directory)
    run.launcher(plan, [str(job.write())], run.directory.logs, run.watchdog.check)
    return Outcome.read(run.directory).result(run.backend, run.directory)
