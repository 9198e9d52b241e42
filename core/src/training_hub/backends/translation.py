"""Translation: what becomes of each hub parameter in a framework, as data that is complete by construction.

A backend writes a table of rules, one for each parameter; `translate` applies it. A value without a way to honour it is
refused by name, a keyword that neither the hub nor the framework knows is refused with the nearest name. A parameter
without a rule, which a newer hub may have added, is unused at its default and refused otherwise; that a table is
complete is for the conformance kit to demand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from training_hub.backends.batches import BatchPlan
from training_hub.errors import ParameterError, nearest
from training_hub.launchers.plan import LaunchPlan
from training_hub.parameters.declaration import Derived, Parameter
from training_hub.parameters.description import misfit
from training_hub.parameters.resolution import Parameters
from training_hub.store.redaction import without_credentials

How: TypeAlias = Literal["exact", "approximate", "hub", "unused", "refused"]
"""`exact` and `approximate`: the framework's argument does it; `hub`: the hub does it; `unused`: nothing asks for it;
`refused`: it cannot be honoured."""

Reason: TypeAlias = Callable[[Parameters], str | None]


@dataclass(frozen=True)
class Rule:
    """What becomes of one parameter."""

    how: How
    argument: str = ""
    """The framework's argument, as `Class.field`."""
    value: Callable[[Parameters], Any] | None = None
    """The argument's value; by default the parameter's own."""
    note: str = ""
    refuse: Reason | None = None
    """Why the value at hand cannot be honoured, or None."""


def exact(
    argument: str, value: Callable[[Parameters], Any] | None = None, *, note: str = "", refuse: Reason | None = None
) -> Rule:
    """The framework's argument means the same."""
    return Rule("exact", argument, value, note, refuse)


def approximate(
    argument: str, note: str, value: Callable[[Parameters], Any] | None = None, *, refuse: Reason | None = None
) -> Rule:
    """The framework's argument means nearly the same; `note` says what differs."""
    return Rule("approximate", argument, value, note, refuse)


def by_hub(note: str, *, refuse: Reason | None = None) -> Rule:
    """The hub applies the parameter itself; `note` says how."""
    return Rule("hub", note=note, refuse=refuse)


def refused(reason: str) -> Rule:
    """The backend has no way to honour any value but the default."""
    return Rule("refused", note=reason)


@dataclass(frozen=True)
class Item:
    """What became of one parameter, in one plan."""

    parameter: str
    value: Any
    how: How
    argument: str = ""
    argument_value: Any = None
    note: str = ""
    origin: str = "default"


@dataclass(frozen=True)
class Translation:
    """The framework's arguments for a run, and how each came about."""

    items: tuple[Item, ...]
    arguments: Mapping[str, Mapping[str, Any]]
    """The framework's arguments: class name to field to value. Plain data that JSON can hold."""
    settings: tuple[Item, ...] = ()
    """Arguments that no parameter asks for and the backend sets on purpose, with the reason."""
    launch: LaunchPlan | None = None
    """The processes to start; None trains in the caller's process."""
    problems: tuple[str, ...] = field(default=())
    batches: BatchPlan | None = None
    """How the effective batch is cut, where the backend cuts it by rows."""
    warnings: tuple[str, ...] = ()
    """What a person should know before the start, such as a check that could not be made."""
    without_rule: tuple[str, ...] = ()
    """Parameters that the backend has no rule for; empty in a complete table."""

    def raise_for_refusals(self) -> None:
        """Raise `ParameterError` naming everything that was refused."""
        if self.problems:
            raise ParameterError("\n".join(self.problems))


def translate(
    backend: str,
    rules: Mapping[str, Rule],
    parameters: Parameters,
    *,
    settings: Mapping[str, tuple[Any, str]] | None = None,
    accepts: Mapping[str, Collection[str]] | None = None,
    withheld: Mapping[str, str] | None = None,
    types: Mapping[str, Any] | None = None,
    unread: Sequence[str] = (),
    problems: Iterable[str] = (),
    launch: LaunchPlan | None = None,
    batches: BatchPlan | None = None,
) -> Translation:
    """Apply a table of rules. Pure.

    Example:
        translate("mine", {**hub_rules(plan), "learning_rate": exact("Config.lr")}, parameters,
                  accepts={"Config": sources.fields_of("framework", "config.py", ("Config",))},
                  unread=sources.unread, launch=plan)

    Args:
        backend: Name of the backend, for messages.
        rules: A rule for each parameter of the algorithm.
        parameters: What to translate.
        settings: Arguments to set besides, as `Class.field` to value and reason. A further keyword may change them.
        accepts: Further keywords that the framework knows: class name to field names.
        withheld: Arguments of the framework that are not to be given as further keywords: name to reason.
        types: The type of each further keyword's value, where it is known: as an annotation, taken strictly.
        unread: What could not be read of the framework's sources (`FrameworkSources.unread`): further keywords that
            are not known then go unchecked to the first class of `accepts`, with a warning.
        problems: What else is wrong, each as a line that names the parameter or keyword.
        launch: The processes to start.
        batches: How the effective batch is cut.
    """
    missing = tuple(name for name in parameters.declared if name not in rules)
    rules = {**rules, **{name: _without_rule(backend, parameters.declared[name]) for name in missing}}
    arguments: dict[str, dict[str, Any]] = {}
    found: list[str] = []
    extra = _backend_kwargs(backend, rules, parameters, accepts or {}, withheld or {}, types or {}, unread, found)

    fixed: list[Item] = []
    for argument, (value, reason) in (settings or {}).items():
        if argument.partition(".")[2] not in parameters.backend_kwargs:
            _put(arguments, argument, value)
            fixed.append(Item("", None, "hub", argument, value, reason, "backend"))

    items = [_apply(backend, rules[name], name, parameters, arguments, found) for name in parameters.declared]
    for name, argument in extra.items():
        _put(arguments, argument, parameters.backend_kwargs[name])
        items.append(
            Item(
                name,
                parameters.backend_kwargs[name],
                "exact",
                argument,
                parameters.backend_kwargs[name],
                "the framework's own",
                parameters.origin.get(name, "call"),
            )
        )
    return Translation(
        tuple(items),
        arguments,
        tuple(fixed),
        launch,
        (*found, *problems),
        batches,
        tuple(f"{reason}: further keywords are not checked" for reason in unread),
        tuple(name for name in missing if not parameters.declared[name].caller),
    )


def _without_rule(backend: str, parameter: Parameter) -> Rule:
    if parameter.caller:
        return by_hub("by the caller's process")
    return refused(
        f"it has no rule for this parameter, being made for an older training-hub that had none; leave it out, or "
        f"install a release of the {backend} backend's package that knows it"
    )


def _put(arguments: dict[str, dict[str, Any]], argument: str, value: Any) -> None:
    owner, _, name = argument.partition(".")
    arguments.setdefault(owner, {})[name] = value


def _apply(
    backend: str,
    rule: Rule,
    name: str,
    parameters: Parameters,
    arguments: dict[str, dict[str, Any]],
    problems: list[str],
) -> Item:
    value, origin = parameters[name], parameters.origin.get(name, "default")
    shown = without_credentials(value) if isinstance(value, str) else value
    reason = rule.refuse(parameters) if rule.refuse else None
    if rule.how == "refused":
        default = parameters.declared[name].default
        # A value equal to the default changes nothing, whoever gave it.
        if value == (default.compute(parameters) if isinstance(default, Derived) else default):
            return Item(name, shown, "unused", note=rule.note, origin=origin)
        reason = rule.note
    if reason:
        problems.append(f"{name}={shown!r}{parameters.source(name)}: the {backend} backend cannot honour it: {reason}")
        return Item(name, shown, "refused", note=reason, origin=origin)
    if not rule.argument:
        how: How = "unused" if value is None else rule.how
        return Item(name, shown, how, note=rule.note, origin=origin)
    result = rule.value(parameters) if rule.value else value
    if result is None:
        return Item(name, shown, "unused", rule.argument, None, rule.note, origin)
    _put(arguments, rule.argument, result)
    return Item(name, shown, rule.how, rule.argument, result, rule.note, origin)


def _backend_kwargs(
    backend: str,
    rules: Mapping[str, Rule],
    parameters: Parameters,
    accepts: Mapping[str, Collection[str]],
    withheld: Mapping[str, str],
    types: Mapping[str, Any],
    unread: Sequence[str],
    problems: list[str],
) -> dict[str, str]:
    """The framework's argument that each further keyword is, as `Class.field`."""
    owned = {rule.argument: name for name, rule in rules.items() if rule.argument and name in parameters.declared}
    found: dict[str, str] = {}
    for name, value in parameters.backend_kwargs.items():
        source = parameters.source(name)
        owner = next((owner for owner, names in accepts.items() if name in names), None)
        if owner is None and unread:
            owner = next(iter(accepts), None)
        if name in withheld:
            problems.append(f"{name}{source}: the {backend} backend cannot honour it: {withheld[name]}")
        elif owner is None:
            known = {*parameters.declared, *(n for names in accepts.values() for n in names)} - withheld.keys()
            problems.append(
                f"{name}{source}: neither a parameter of {parameters.algorithm} nor an argument of "
                f"the {backend} backend's framework{nearest(name, known)}"
            )
        elif owned_by := owned.get(f"{owner}.{name}"):
            problems.append(f"{name}{source}: {owner}.{name} is set from {owned_by}; give {owned_by} instead")
        elif problem := misfit(value, types.get(name, Any)):
            problems.append(f"{name}: {problem}{source}")
        else:
            found[name] = f"{owner}.{name}"
    return found


def when(name: str, reason: Callable[[], str | None]) -> Reason:
    """Refuse a parameter for a reason, where it is switched on: for a rule's `refuse`."""
    return lambda parameters: reason() if parameters[name] else None


def reference(rules: Mapping[str, Rule]) -> str:
    """A table of rules in Markdown, as a plugin's README shows it."""
    lines = ["| parameter | what becomes of it | the framework's argument | remark |", "|---|---|---|---|"]
    for name, rule in rules.items():
        how = {"hub": "applied by the hub", "refused": "refused"}.get(rule.how, rule.how)
        some = ", or refused" if rule.refuse else ""
        argument = f"`{rule.argument}`" if rule.argument else ""
        cells = (f"`{name}`", how + some, argument, rule.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
