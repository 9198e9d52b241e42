"""What a run would do, found out without starting or writing anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from training_hub.backends.base import Backend, FrameworkBackend
from training_hub.backends.batches import BatchPlan
from training_hub.backends.translation import Item, Translation
from training_hub.cli.given import Given
from training_hub.errors import BackendUnavailableError, UserError
from training_hub.parameters.resolution import Parameters
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.plugins.selection import select
from training_hub.store.redaction import masked

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A run that was thought through."""

    backend: Backend
    parameters: Parameters
    translation: Translation | None
    """None where the backend does not translate, or could not."""
    checked: str
    """What was found of model and data; empty where that was not looked at, or has a problem."""
    problems: tuple[str, ...]
    """Why a run would be refused; it holds what the translation refuses, too."""

    @property
    def translates(self) -> bool:
        return isinstance(self.backend, FrameworkBackend)

    @property
    def batches(self) -> BatchPlan | None:
        return self.translation.batches if self.translation else None

    def items(self) -> tuple[Item, ...]:
        """What becomes of each parameter; without a translation, just what each is."""
        if self.translation:
            return self.translation.items
        resolved = self.parameters
        return tuple(
            Item(
                name,
                masked(value),
                "exact" if value is not None else "unused",
                origin=resolved.origin.get(name, "call"),
            )
            for name, value in (*resolved.items(), *resolved.backend_kwargs.items())
        )


def plan(given: Given) -> Plan:
    """Think a run through.

    Raises:
        UserError: What was given is so wrong that nothing can be planned: a value is ill-typed, a backend unknown.
    """
    problems: list[str] = []
    backend = _backend(given, problems)
    parameters = AlgorithmRegistry.get_algorithm(given.algorithm).resolve(given.values, given.origin, type(backend))
    if not isinstance(backend, FrameworkBackend):
        return Plan(backend, parameters, None, "", tuple(problems))
    translation = _attempt(lambda: backend.translate(parameters), problems)
    if translation:
        problems += translation.problems
    checked = _attempt(lambda: _checked(parameters), problems) or ""
    return Plan(backend, parameters, translation, checked, tuple(problems))


def _attempt(step: Callable[[], T], problems: list[str]) -> T | None:
    try:
        return step()
    except UserError as error:
        problems.append(str(error))
        return None


def _backend(given: Given, problems: list[str]) -> Backend:
    try:
        return select(given.algorithm, given.backend).backend
    except BackendUnavailableError as error:
        # A plan is made on machines without a GPU too: it needs the backend, not its hardware.
        problems.append(str(error))
        name = given.backend or AlgorithmRegistry.list_backends(given.algorithm)[0]
        backend = AlgorithmRegistry.get_backend(given.algorithm, name)()
        backend.name = name
        backend.chosen_because = f"backend {name}: planned although it cannot run on this machine"
        return backend


def _checked(parameters: Parameters) -> str:
    from training_hub.preflight.request import check_request
    from training_hub.store.directory import size

    request = check_request(parameters)
    model, data = request.model, request.data
    weights = f", {size(model.weight_bytes)} of weights" if model.local else ", looked up on the Hugging Face Hub"
    rows = "1 row" if data.rows == 1 else f"{data.rows} rows"
    told = f"model {model.path}{weights}; data {data.path}, {rows} of format {data.format}"
    return "\n".join([told, *(f"warning: {warning}" for warning in request.warnings)])


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan as data."""
    launch = plan.translation.launch if plan.translation else None
    return {
        "algorithm": plan.parameters.algorithm,
        "backend": plan.backend.name,
        "backend_choice": plan.backend.chosen_because,
        "translates": plan.translates,
        "checked": plan.checked,
        "problems": list(plan.problems),
        "warnings": list(plan.translation.warnings) if plan.translation else [],
        "parameters": [_item(plan, item) for item in plan.items()],
        "settings": [_item(plan, item) for item in (plan.translation.settings if plan.translation else ())],
        "arguments": dict(plan.translation.arguments) if plan.translation else plan.parameters.for_backend(),
        "batches": asdict(plan.batches) if plan.batches else None,
        "launch": asdict(launch) | {"argv": command(plan)} if launch else None,
    }


def command(plan: Plan) -> list[str]:
    """The command that starts the run's processes; empty when it trains in the caller's process."""
    launch = plan.translation.launch if plan.translation else None
    return [launch.interpreter or "python", *launch.argv()] if launch else []


def _item(plan: Plan, item: Item) -> dict[str, Any]:
    return dict(masked(asdict(item))) | ({"value": None, "argument_value": None} if is_secret(plan, item) else {})


def is_secret(plan: Plan, item: Item) -> bool:
    """Whether the item's value is never shown."""
    declared = plan.parameters.declared.get(item.parameter)
    return declared is not None and declared.secret
