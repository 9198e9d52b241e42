"""Weights & Biases, by its own client; WANDB_MODE, WANDB_DIR and the other variables of it mean what they always do."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from typing_extensions import TypedDict

from training_hub.parameters.declaration import Param
from training_hub.store.events import Event
from training_hub.trackers import payload
from training_hub.trackers.tracker import TrackedRun, Tracker, TrackerOutcome

FINISH_SECONDS = 25.0
"""How long the client may upload at the end; what is left stays on disk for `wandb sync`."""
_INIT_SECONDS = 60.0
_EXIT_CODES = {"interrupted": 255}


class WandbParameters(TypedDict, total=False):
    """Experiment trackers."""

    wandb_project: Annotated[str | None, Param(None, "Weights & Biases project; turns that tracker on.", caller=True)]
    wandb_entity: Annotated[str | None, Param(None, "Weights & Biases team or user.", caller=True)]
    wandb_run_name: Annotated[str | None, Param(None, "Name of the run in Weights & Biases.", caller=True)]


class WeightsAndBiases(Tracker):
    """A run of its own, whatever other run the process may have open."""

    name: ClassVar[str] = "wandb"
    title: ClassVar[str] = "Weights & Biases"
    parameters: ClassVar[type] = WandbParameters
    switch: ClassVar[str] = "wandb_project"
    variables: ClassVar[Mapping[str, str]] = {
        "wandb_project": "WANDB_PROJECT",
        "wandb_entity": "WANDB_ENTITY",
        "wandb_run_name": "WANDB_NAME",
    }
    distributions: ClassVar[tuple[str, ...]] = ("wandb",)
    least: ClassVar[tuple[int, int]] = (0, 31)
    install: ClassVar[str] = 'pip install "training-hub[wandb]"'

    @classmethod
    def disabled(cls, variables: Mapping[str, str]) -> bool:
        off = variables.get("WANDB_DISABLED", "").lower() in ("true", "1")
        return off or variables.get("WANDB_MODE") == "disabled"

    @classmethod
    def problem(cls, settings: Mapping[str, Any]) -> str | None:
        import wandb

        # Without a key the client would ask for one at the terminal, in the middle of a run.
        if wandb.setup().settings.mode not in ("online", "run") or wandb.run is not None:
            return None
        if wandb.login(prompt=False, verify=False):
            return None
        return "there is no API key: run `wandb login`, or set WANDB_API_KEY, or WANDB_MODE=offline"

    def begin(self, manifest: Mapping[str, Any], earlier: str | None) -> TrackedRun:
        import wandb

        self._run = wandb.init(
            project=self.settings["wandb_project"],
            entity=self.settings.get("wandb_entity"),
            name=self.settings.get("wandb_run_name"),
            config=payload.parameters(manifest),
            id=earlier,
            resume="allow" if earlier else None,
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=_INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        self._run.define_metric("*", step_metric="step")
        self._counts_alike = self._run.settings.mode != "shared"
        self._reached = self._run.step if earlier and self._counts_alike else 0
        return TrackedRun(self._run.id, self._run.url or f"{self._run.settings.sync_dir} (upload it by `wandb sync`)")

    def receive(self, events: Sequence[Event]) -> None:
        for event in events:
            if found := payload.measured(event):
                step, figures = found
                # The client drops what comes for a step that has passed, as a resumed run's first ones have.
                self._counts_alike = self._counts_alike and step >= self._reached
                self._reached = step
                self._run.log({"step": step, **figures}, step=step if self._counts_alike else None)

    def end(self, outcome: TrackerOutcome) -> None:
        import wandb

        self._run.summary.update({"state": outcome.state, **payload.final(outcome.metrics)})
        if outcome.cause:
            self._run.summary["cause"] = outcome.cause
        if files := outcome.files():
            artifact = wandb.Artifact(f"run-{self._run.id}", type="run")
            for path in files:
                artifact.add_file(str(path), name=path.name)
            self._run.log_artifact(artifact)
        self._run.finish(exit_code=0 if outcome.well else _EXIT_CODES.get(outcome.state, 1))
