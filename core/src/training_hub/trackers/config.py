"""Which trackers a run has: by their parameters, or by the variables that their own users set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from training_hub.errors import ParameterError
from training_hub.store.redaction import without_credentials
from training_hub.trackers.tracker import Tracker

Kinds: TypeAlias = Iterable[type[Tracker]]


@dataclass(frozen=True)
class TrackerConfig:
    """A tracker of a run."""

    tracker: type[Tracker]
    settings: Mapping[str, Any]
    """Its parameters that have a value, whoever gave it."""
    by_parameter: bool
    """Whether the call itself asks for it, so that it is needed; else a variable does."""

    @property
    def says(self) -> str:
        """The parameter or the variable that asks for it, without secrets."""
        switch = self.tracker.switch
        name = switch if self.by_parameter else self.tracker.variables[switch]
        return f"{name}={without_credentials(str(self.settings[switch]))}"

    @cached_property
    def problem(self) -> str | None:
        """Why it cannot be used, with what mends it."""
        try:
            return self.tracker.missing() or self.tracker.problem(self.settings)
        except Exception as error:  # whatever a client says of its own installation or settings
            return without_credentials(f"{type(error).__name__}: {error}")


def configured(
    kinds: Kinds, parameters: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> list[TrackerConfig]:
    """The trackers of a run. On a further node there are none: the first one tells of the whole run.

    Args:
        kinds: All that there are.
        parameters: Parameters of any algorithm.
        environment: The process' own by default.
    """
    variables = os.environ if environment is None else environment
    if parameters.get("node_rank"):
        return []
    found = []
    for kind in kinds:
        own = {name: parameters.get(name) or variables.get(variable) for name, variable in kind.variables.items()}
        if own[kind.switch] and not kind.disabled(variables):
            settings = {name: value for name, value in own.items() if value}
            found.append(TrackerConfig(kind, settings, bool(parameters.get(kind.switch))))
    return found


def check_trackers(kinds: Kinds, parameters: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
    """Check that the trackers of a run can be used.

    Raises:
        ParameterError: One that a parameter asks for cannot, or a parameter speaks of one that is not turned on.
    """
    kinds = tuple(kinds)
    found = configured(kinds, parameters, environment)
    problems = [f"{each.says}: {each.problem}" for each in found if each.by_parameter and each.problem]
    on = {each.tracker.name for each in found}
    if not parameters.get("node_rank"):
        problems += [
            f"{name}={parameters[name]!r} without {_switches(kind)}: nothing would come of it; say where to track"
            for kind in kinds
            for name in kind.variables
            if kind.name not in on and name != kind.switch and parameters.get(name) and not parameters.get(kind.switch)
        ]
    if problems:
        raise ParameterError("\n".join(problems))


def _switches(kind: type[Tracker]) -> str:
    return " or ".join(filter(None, (kind.switch, kind.variables[kind.switch])))
