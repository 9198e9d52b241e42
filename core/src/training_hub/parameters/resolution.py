"""From what a caller gives to a complete, checked set of parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from training_hub.errors import ParameterError, nearest
from training_hub.parameters.declaration import REQUIRED, Derived, Parameter
from training_hub.parameters.description import expectation
from training_hub.parameters.groups import default_of
from training_hub.store.figure import Figure

Contradiction: TypeAlias = Callable[[Mapping[str, Any]], str | None]
"""Says why some values cannot hold together, or None. It sees the values given and the defaults of the rest."""

_ENDPOINT = re.compile(r"([^\s:]+|\[[0-9a-fA-F:.%]+\]):(?P<port>\d{1,5})")

DEFAULT = "default"
CALL = "call"

SCHEDULER_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "nproc_per_node": ("PET_NPROC_PER_NODE",),
    "nnodes": ("PET_NNODES",),
    "node_rank": ("PET_NODE_RANK",),
    "rdzv_id": ("PET_RDZV_ID",),
    "rdzv_endpoint": ("PET_RDZV_ENDPOINT",),
    "master_addr": ("PET_MASTER_ADDR", "MASTER_ADDR"),
    "master_port": ("PET_MASTER_PORT", "MASTER_PORT"),
}
"""Variables that schedulers (Kubeflow, torchrun) set, in order of precedence; a call's own values come before them."""

_OTHER_MEETING_POINT: Mapping[str, tuple[str, ...]] = {
    "rdzv_endpoint": ("master_addr", "master_port"),
    "master_addr": ("rdzv_endpoint",),
    "master_port": ("rdzv_endpoint",),
}


@dataclass(frozen=True)
class Parameters(Mapping[str, Any]):
    """Every parameter of an algorithm with its value, and where each value came from."""

    algorithm: str
    declared: Mapping[str, Parameter]
    resolved: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)
    """Name to `default`, `call`, `file PATH:LINE` or `environment VARIABLE`."""
    backend_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords that are not the hub's, for the backend."""
    row_formats: tuple[str, ...] = ()
    """The forms of rows that the algorithm takes."""
    figures: tuple[Figure, ...] = ()
    """The algorithm's own figures."""

    def __getitem__(self, name: str) -> Any:
        """The value; the default of a shared parameter that the algorithm does not take.

        Raises:
            KeyError: There is no such parameter.
        """
        return self.resolved[name] if name in self.resolved else default_of(name, self)

    def __contains__(self, name: object) -> bool:
        """Whether the algorithm takes the parameter."""
        return name in self.resolved

    def __iter__(self) -> Iterator[str]:
        return iter(self.resolved)

    def __len__(self) -> int:
        return len(self.resolved)

    def given(self, name: str) -> bool:
        """Whether the value is somebody's choice rather than the default."""
        return self.origin.get(name, DEFAULT) != DEFAULT

    def chosen(self, name: str) -> bool:
        """Whether a person gave it: a scheduler sets variables for every job, whatever it is."""
        return self.given(name) and not self.origin[name].startswith("environment")

    def source(self, name: str) -> str:
        """For messages: ` (from file run.yaml:3)`, or nothing where the call itself says it."""
        return _source(self.origin.get(name, CALL))

    def only(self, names: Iterable[str]) -> Parameters:
        """The same with these names alone; what is done to its lists and mappings is not done to these."""
        return replace(self, resolved={name: copied(self.resolved[name]) for name in names})

    def for_backend(self) -> dict[str, Any]:
        """One plain dict for a backend's `execute_training`: all values that are not None, and all further keywords."""
        given = {name: value for name, value in self.resolved.items() if value is not None} | dict(self.backend_kwargs)
        found: dict[str, Any] = copied(given)
        return found


def copied(value: Any) -> Any:
    """A value whose lists, mappings and sets are its own, however deep; what else is in them is the same."""
    if type(value) is dict:
        return {key: copied(item) for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(map(copied, value))
    return value


def resolve(
    algorithm: str,
    declared: Mapping[str, Parameter],
    given: Mapping[str, Any],
    *,
    origin: Mapping[str, str] | None = None,
    contradictions: Sequence[Contradiction] = (),
    environment: Mapping[str, str] | None = None,
) -> Parameters:
    """Check what was given, fill in the rest.

    Args:
        algorithm: Name of the algorithm, for messages.
        declared: Its parameters.
        given: Values by name; None means "not given". Names that are not declared become further keywords.
        origin: Where each given value came from, where that is not the call.
        contradictions: The algorithm's own checks, besides those that hold for all.
        environment: Variables a scheduler may have set; the process' own by default.

    Raises:
        ParameterError: Naming every value that is missing, ill-typed, out of bounds or contradicts another.
    """
    # A framework may write into what it is given; what the caller holds stays as it is.
    present = {name: copied(_plain(value, declared.get(name))) for name, value in given.items() if value is not None}
    sources = {name: (origin or {}).get(name, CALL) for name in present}
    _fill_from_scheduler(declared, present, sources, os.environ if environment is None else environment)
    backend_kwargs = {name: value for name, value in present.items() if name not in declared}
    values = _checked(algorithm, declared, {n: v for n, v in present.items() if n in declared}, sources)

    for name, parameter in declared.items():
        if name not in values and not isinstance(parameter.default, Derived):
            values[name] = copied(parameter.default)
            sources[name] = DEFAULT
    for name, parameter in declared.items():
        if name not in values:
            values[name] = parameter.default.compute(values)
            sources[name] = DEFAULT
    ordered = {name: values[name] for name in declared}
    parameters = Parameters(algorithm, declared, ordered, sources, backend_kwargs)
    problems = [problem for check in (*SHARED_CONTRADICTIONS, *contradictions) if (problem := check(parameters))]
    if isinstance(ordered.get("nproc_per_node"), int):
        world_size = ordered["nproc_per_node"] * parameters["nnodes"]
        problems += filter(None, [micro_batch_contradiction(parameters, world_size)])
    if problems:
        raise ParameterError("\n".join(problems))
    return parameters


def micro_batch_contradiction(parameters: Parameters, world_size: int) -> str | None:
    """Whether the micro-batches given multiply to another effective batch than the one given."""
    micro, steps = parameters.get("micro_batch_size"), parameters.get("gradient_accumulation_steps")
    if not (micro and steps and parameters.given("effective_batch_size")):
        return None
    product, effective = micro * steps * world_size, parameters["effective_batch_size"]
    if product == effective:
        return None
    return (
        f"micro_batch_size={micro} x gradient_accumulation_steps={steps} x {world_size} processes = {product}, "
        f"and effective_batch_size={effective}: leave one of them out, or make them agree"
    )


def _plain(value: Any, parameter: Parameter | None) -> Any:
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    home = isinstance(value, str) and parameter is not None and _takes_path(parameter.type)
    # Path.expanduser would write ./a/b as a/b, which is the form of a model id.
    return os.path.expanduser(value) if home else value  # noqa: PTH111


def _takes_path(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) is os.PathLike or any(map(_takes_path, get_args(annotation)))


def _fill_from_scheduler(
    declared: Mapping[str, Parameter],
    present: dict[str, Any],
    sources: dict[str, str],
    environment: Mapping[str, str],
) -> None:
    for name, variables in SCHEDULER_VARIABLES.items():
        if name in present or name not in declared:
            continue
        # One meeting point is enough: what a scheduler says of the other way would only contradict it.
        if any(other in present for other in _OTHER_MEETING_POINT.get(name, ())):
            continue
        for variable in variables:
            if text := environment.get(variable):
                present[name] = text
                sources[name] = f"environment {variable}"
                break


def _checked(
    algorithm: str, declared: Mapping[str, Parameter], given: dict[str, Any], sources: Mapping[str, str]
) -> dict[str, Any]:
    from pydantic import ValidationError

    problems: dict[str, str] = {}
    values: dict[str, Any] = {}
    model = validation_model(algorithm, tuple(declared.values()))
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        for entry in error.errors(include_url=False):
            name = str(entry["loc"][0])
            nested = [
                str(part) for part in entry["loc"][1:] if isinstance(part, str) and part in _keys(given.get(name))
            ]
            said = entry["msg"]
            if nested and entry["type"] == "extra_forbidden":
                known = _declared_keys(declared[name].type)
                said = f"there is no such key{nearest(nested[-1], known)}; there are {', '.join(known)}"
            where = f" at {'.'.join(nested)}: {said}" if nested else ""
            if entry["type"] == "value_error" and isinstance(given[name], Mapping | list | tuple):
                where = f": {entry['ctx']['error']}"
            source = _source(sources[name])
            value = "a secret" if declared[name].secret else repr(given[name])
            problems.setdefault(
                name, f"{name}: expected {expectation(declared[name].type)}; got {value}{source}{where}"
            )
    else:
        values = {name: getattr(checked, name) for name in checked.model_fields_set}
    missing = [name for name, parameter in declared.items() if parameter.default is REQUIRED and name not in given]
    for name in missing:
        problems[name] = f"{name}: {algorithm} needs it, {expectation(declared[name].type)}: {declared[name].help}"
    if problems:
        raise ParameterError("\n".join(problems.values()))
    return values


def _source(origin: str) -> str:
    return "" if origin in (CALL, DEFAULT) else f" (from {origin})"


def _keys(value: Any) -> Sequence[str]:
    return list(value) if isinstance(value, Mapping) else []


def _declared_keys(annotation: Any) -> list[str]:
    if hasattr(annotation, "__total__"):
        return list(annotation.__annotations__)
    return [key for member in get_args(annotation) for key in _declared_keys(member)]


@cache
def validation_model(algorithm: str, declared: tuple[Parameter, ...]) -> Any:
    """The pydantic model of an algorithm's parameters, for validation and JSON Schema."""
    from pydantic import ConfigDict, Field, WrapValidator, create_model

    fields: dict[str, Any] = {}
    for parameter in declared:
        default = parameter.default
        about: dict[str, Any] = {"description": parameter.help}
        if isinstance(default, Derived):
            about["description"] += f" Default: {default.rule}."
        # Whether a required value is missing is reported with the other problems, by name and meaning.
        plain = None if default is REQUIRED or isinstance(default, Derived) else default
        fields[parameter.name] = (Annotated[parameter.type, WrapValidator(_as_written)], Field(default=plain, **about))
    # What is forbidden are unknown keys of nested mappings with declared keys; pydantic would drop them in silence.
    config = ConfigDict(
        arbitrary_types_allowed=True, allow_inf_nan=False, extra="forbid", title=algorithm, protected_namespaces=()
    )
    return create_model(f"{algorithm} parameters", __config__=config, **fields)


def _as_written(value: Any, validate: Callable[[Any], Any]) -> Any:
    checked = validate(value)
    if _taken_for_another(value, checked):
        raise ValueError("true and false are no numbers and no texts, and bytes are no text")
    return checked


def _taken_for_another(value: Any, checked: Any) -> bool:
    """Whether pydantic made 1 of true, False of "no", or a text of bytes; that "2" is a number is welcome."""
    if isinstance(checked, Mapping) and isinstance(value, Mapping):
        return any(key not in value or _taken_for_another(value[key], item) for key, item in checked.items())
    if isinstance(checked, list) and isinstance(value, list | tuple):
        return any(map(_taken_for_another, value, checked))
    return any(isinstance(value, kind) != isinstance(checked, kind) for kind in (bool, bytes))


def _needs(name: str, needed: str, why: str) -> Contradiction:
    def check(values: Mapping[str, Any]) -> str | None:
        return f"{name} without {needed}: {why}" if values.get(name) and not values.get(needed) else None

    return check


def _validates(values: Mapping[str, Any]) -> bool:
    return bool(values.get("validation_split") or values.get("eval_data_path"))


def _needs_validation_rows(name: str) -> Contradiction:
    def check(values: Mapping[str, Any]) -> str | None:
        if not values.get(name) or _validates(values):
            return None
        ways = "validation_split" + (" or eval_data_path" if "eval_data_path" in values else "")
        return f"{name} without a validation set: say which rows to validate on with {ways}"

    return check


def _fits(values: Mapping[str, Any]) -> str | None:
    length = "block_size" if values.get("is_pretraining") and values.get("block_size") else "max_seq_len"
    if values[length] <= values["max_tokens_per_gpu"]:
        return None
    return (
        f"{length}={values[length]} does not fit max_tokens_per_gpu={values['max_tokens_per_gpu']}: "
        f"a micro-batch must hold at least one row; raise max_tokens_per_gpu or lower {length}"
    )


def _node_rank(values: Mapping[str, Any]) -> str | None:
    if values["node_rank"] < values["nnodes"]:
        return None
    return f"node_rank={values['node_rank']} with nnodes={values['nnodes']}: ranks go from 0 to nnodes - 1"


def _one_meeting_point(values: Mapping[str, Any]) -> str | None:
    if values.get("rdzv_endpoint") and values.get("master_addr"):
        return "rdzv_endpoint and master_addr both say where the nodes meet: give one of them"
    if values["nnodes"] > 1 and not values.get("rdzv_endpoint") and not values.get("master_addr"):
        return f"nnodes={values['nnodes']} without rdzv_endpoint or master_addr: the nodes must know where to meet"
    return None


def _host_and_port(values: Mapping[str, Any]) -> str | None:
    endpoint = values.get("rdzv_endpoint")
    if endpoint is None or ((found := _ENDPOINT.fullmatch(endpoint)) and 1 <= int(found["port"]) <= 65535):
        return None
    return f"rdzv_endpoint: expected HOST:PORT, such as node0:29400; got {endpoint!r}"


def _not_empty(name: str, part: str) -> Contradiction:
    def check(values: Mapping[str, Any]) -> str | None:
        return f"{name}=[]: there is no {part} in it; leave it out for the default" if values.get(name) == [] else None

    return check


def _target_modules(values: Mapping[str, Any]) -> str | None:
    asked = values.get("target_modules")
    if isinstance(asked, list) and "all-linear" in asked:
        return (
            f"target_modules={asked!r}: in a list all-linear would be a layer's name; it means all linear layers where "
            f"it stands alone, as a text: target_modules='all-linear'"
        )
    if isinstance(asked, str) and (problem := _no_pattern(asked)):
        return f"target_modules={asked!r}: a text is a pattern (a regular expression), and {problem}"
    return None


def _by_layer(name: str) -> Contradiction:
    """Each key is a pattern, and each value more than 0."""

    def check(values: Mapping[str, Any]) -> str | None:
        for pattern, value in (values.get(name) or {}).items():
            if problem := _no_pattern(pattern):
                return f"{name}: {pattern!r} is a pattern (a regular expression), and {problem}"
            if value <= 0:
                return f"{name}: expected values greater than 0; got {value} for {pattern!r}"
        return None

    return check


def _no_pattern(text: str) -> str | None:
    try:
        re.compile(text)
    except re.error as error:
        return f"this is none: {error}"
    return None


def _every_way_to_mask(values: Mapping[str, Any]) -> str | None:
    ways = [n for n in ("is_pretraining", "use_processed_dataset", "unmask_messages") if values.get(n)]
    if len(ways) < 2:
        return None
    return f"{' and '.join(ways)} contradict each other: each says by itself which tokens are trained"


def _resume_or_overwrite(values: Mapping[str, Any]) -> str | None:
    if values.get("resume") is not True or not values.get("overwrite_output_dir"):
        return None
    return (
        "resume=True and overwrite_output_dir=True contradict each other: the one goes on with what the other deletes"
    )


SHARED_CONTRADICTIONS: tuple[Contradiction, ...] = (
    _needs("resume_changes", "resume", "it says what may differ from the run that is resumed"),
    _resume_or_overwrite,
    _needs(
        "block_size", "is_pretraining", "only documents are cut in blocks; give is_pretraining=True or leave it out"
    ),
    _needs("is_pretraining", "block_size", "say how many tokens a block of documents has"),
    _needs("document_column_name", "is_pretraining", "only pretraining reads documents"),
    _needs_validation_rows("validation_frequency"),
    _needs_validation_rows("eval_steps"),
    _needs_validation_rows("save_best_val_loss"),
    _needs("val_loss_improvement_threshold", "save_best_val_loss", "it says when a validation loss is a better one"),
    _fits,
    _node_rank,
    _one_meeting_point,
    _host_and_port,
    _not_empty("target_modules", "layer"),
    _target_modules,
    _by_layer("rank_pattern"),
    _by_layer("alpha_pattern"),
    _not_empty("target_patterns", "pattern"),
    _every_way_to_mask,
)
