"""Which trackers are asked for: by their parameters, or by the variables that their own users set."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from training_hub.credentials import without_credentials
from training_hub.errors import ParameterError
from training_hub.trackers.tracker import Tracker


@dataclass(frozen=True)
class Kind:
    """A tracking system."""

    name: str
    title: str
    home: str
    """Module and class of its tracker."""
    switch: str
    """The parameter that turns it on."""
    variables: Mapping[str, str]
    """Its parameters, each with the variable that stands for it where it is not given."""
    distributions: tuple[str, ...]
    """Any of these brings it."""
    least: tuple[int, int]
    """The oldest release that has what is used here."""

    @property
    def install(self) -> str:
        return f'pip install "training-hub[{self.name}]"'

    @property
    def tracker(self) -> type[Tracker]:
        module, _, name = self.home.partition(":")
        found: type[Tracker] = getattr(import_module(module), name)
        return found

    def missing(self) -> str | None:
        """Why its package cannot be used, with what mends it; told from metadata alone."""
        for distribution in self.distributions:
            try:
                found = version(distribution)
            except PackageNotFoundError:
                continue
            release = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
            if release >= self.least:
                return None
            least = ".".join(map(str, self.least))
            return f"{distribution} {found} is installed, and {least} or newer is needed: {self.install}"
        return f"{self.name} is not installed: {self.install}"


KINDS = (
    Kind(
        "tensorboard",
        "TensorBoard",
        "training_hub.trackers.tensorboard:TensorBoard",
        "tensorboard_log_dir",
        {"tensorboard_log_dir": "TENSORBOARD_LOGGING_DIR"},
        ("tensorboard", "tb-nightly"),
        (2, 16),
    ),
    Kind(
        "wandb",
        "Weights & Biases",
        "training_hub.trackers.wandb:WeightsAndBiases",
        "wandb_project",
        {"wandb_project": "WANDB_PROJECT", "wandb_entity": "WANDB_ENTITY", "wandb_run_name": "WANDB_NAME"},
        ("wandb",),
        (0, 31),
    ),
    Kind(
        "mlflow",
        "MLflow",
        "training_hub.trackers.mlflow:MLflow",
        "mlflow_tracking_uri",
        {
            "mlflow_tracking_uri": "MLFLOW_TRACKING_URI",
            "mlflow_experiment_name": "MLFLOW_EXPERIMENT_NAME",
            "mlflow_run_name": "",
        },
        ("mlflow", "mlflow-skinny"),
        (3, 0),
    ),
)

PARAMETERS = tuple(name for kind in KINDS for name in kind.variables)
"""Every parameter of a tracker. They are the caller's: a process that trains needs none of them."""
TOLD = "from the events, by the caller's process"
"""How a backend honours them, for its rules."""


@dataclass(frozen=True)
class Asked:
    """A tracker that is asked for."""

    kind: Kind
    settings: Mapping[str, Any]
    """Its parameters that have a value, whoever gave it."""
    by_parameter: bool
    """Whether the call itself asks for it, so that it is needed; else a variable does."""

    @property
    def says(self) -> str:
        """The parameter or the variable that asks for it, without secrets."""
        name = self.kind.switch if self.by_parameter else self.kind.variables[self.kind.switch]
        return f"{name}={without_credentials(str(self.settings[self.kind.switch]))}"

    @cached_property
    def problem(self) -> str | None:
        """Why it cannot be used, with what mends it."""
        try:
            return self.kind.missing() or self.kind.tracker.problem(self.settings)
        except Exception as error:  # whatever a client says of its own installation or settings
            return without_credentials(f"{type(error).__name__}: {error}")


def asked(parameters: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> list[Asked]:
    """The trackers of a run. On a further node there are none: the first one tells of the whole run.

    Args:
        parameters: Parameters of any algorithm.
        environment: The process' own by default.
    """
    variables = os.environ if environment is None else environment
    if parameters.get("node_rank"):
        return []
    found = []
    for kind in KINDS:
        own = {name: parameters.get(name) or variables.get(variable) for name, variable in kind.variables.items()}
        if own[kind.switch] and not (kind.name == "wandb" and _wandb_is_off(variables)):
            settings = {name: value for name, value in own.items() if value}
            found.append(Asked(kind, settings, bool(parameters.get(kind.switch))))
    return found


def check_trackers(parameters: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
    """Check that the trackers of a run can be used.

    Raises:
        ParameterError: One that a parameter asks for cannot, or a parameter speaks of one that is not turned on.
    """
    found = asked(parameters, environment)
    problems = [f"{each.says}: {each.problem}" for each in found if each.by_parameter and each.problem]
    on = {each.kind.name for each in found}
    if not parameters.get("node_rank"):
        problems += [
            f"{name}={parameters[name]!r} without {kind.switch} or {kind.variables[kind.switch]}: "
            f"nothing would come of it; say where to track"
            for kind in KINDS
            for name in kind.variables
            if kind.name not in on and name != kind.switch and parameters.get(name) and not parameters.get(kind.switch)
        ]
    if problems:
        raise ParameterError("\n".join(problems))


def _wandb_is_off(variables: Mapping[str, str]) -> bool:
    return variables.get("WANDB_MODE") == "disabled" or variables.get("WANDB_DISABLED", "").lower() in ("true", "1")
