"""What an algorithm is: its parameters, its checks, its rows, its figures, and the backend that executes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from training_hub.compat.keywords import renamed
from training_hub.errors import ParameterError
from training_hub.parameters.declaration import Parameter, declared, merged
from training_hub.parameters.resolution import Contradiction, Parameters, resolve
from training_hub.store.figure import NO_FIGURES, Figure

if TYPE_CHECKING:
    from training_hub.backends.base import Backend

HUB_FORMATS = ("messages", "sharegpt", "alpaca", "prompt_completion", "documents", "processed")
"""The forms of rows from which a model learns to continue."""


class Algorithm:
    """What is learned, and with which parameters.

    A plugin's algorithm subclasses this and sets `name`, `parameters` (a `TypedDict` of any of the hub's groups, with
    `Essentials` at least, and its own) and, where it likes, the rest.
    """

    name: ClassVar[str]
    parameters: ClassVar[type]
    """The `TypedDict` that declares every parameter."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Defaults that differ from those of the shared groups."""
    contradictions: ClassVar[tuple[Contradiction, ...]] = ()
    recommended_backends: ClassVar[tuple[str, ...]] = ()
    """Backends to try, in order, when none is named."""
    positional: ClassVar[tuple[str, ...]] = ("model_path", "data_path", "ckpt_output_dir")
    """Parameters that may be given by position, in order."""
    row_formats: ClassVar[tuple[str, ...]] = HUB_FORMATS
    """The forms of rows that it learns from, by name."""
    figures: ClassVar[tuple[Figure, ...]] = ()
    """Figures of its own, which its backends report beside the common ones; or another unit for one of these."""

    def __init__(self, backend: Backend, **settings: Any) -> None:
        """Args:
        backend: Executes the algorithm.
        **settings: Parameters that every `train` of this object starts from.
        """
        self.backend = backend
        self.settings = settings

    @classmethod
    def declared(cls, backend: type[Backend] | None = None) -> dict[str, Parameter]:
        """Every parameter by name, with the algorithm's own defaults; those of trackers included.

        Args:
            backend: Whose own parameters are added.

        Raises:
            TypeError: A declaration is no declaration, or one name is declared twice with different types.
        """
        from training_hub.plugins import discovery

        own = declared(cls.parameters, cls.defaults)
        of_backend = declared(backend.parameters, {}) if backend is not None and backend.parameters else {}
        return merged(own, of_backend, *(declared(tracker.parameters, {}) for tracker in discovery.trackers()))

    @classmethod
    def problem(cls) -> str | None:
        """What it lacks that the hub cannot do without; None where it can be registered."""
        if not isinstance(getattr(cls, "name", None), str):
            return f"{cls.__name__} has no name"
        try:
            own = declared(cls.parameters, cls.defaults)
        except (AttributeError, TypeError) as error:
            return f"its parameters cannot be read: {error}"
        if missing := [name for name in ("model_path", "data_path", "ckpt_output_dir") if name not in own]:
            return f"it does not declare {', '.join(missing)}: let its parameters inherit from Essentials"
        if unknown := [name for name in cls.positional if name not in own]:
            return f"its positional parameters name {', '.join(unknown)}, which it does not declare"
        if odd := [figure for figure in cls.figures if not isinstance(figure, Figure) or figure.name in NO_FIGURES]:
            return f"its figures have {odd[0]!r}: expected a Figure, of another name than what events have besides"
        if not cls.row_formats:
            return "it names no row_formats: say which forms of rows it learns from"
        return None

    def get_required_params(self) -> dict[str, Any]:
        """Names and types of the parameters that have no default."""
        return {name: p.bare_type for name, p in self.declared(type(self.backend)).items() if p.required}

    def get_optional_params(self) -> dict[str, Any]:
        """Names and types of the parameters that have a default."""
        return {name: p.bare_type for name, p in self.declared(type(self.backend)).items() if not p.required}

    @classmethod
    def resolve(
        cls,
        given: Mapping[str, Any],
        origin: Mapping[str, str] | None = None,
        backend: type[Backend] | None = None,
    ) -> Parameters:
        """Check `given` and fill in the rest.

        Args:
            given: Values by name; None means "not given".
            origin: Where each given value came from, where that is not the call.
            backend: Whose own parameters are taken, too.

        Raises:
            ParameterError: A value is missing, ill-typed, out of bounds or contradicts another.
        """
        declared = cls.declared(backend)
        given, origin = renamed(given, origin or {}, declared)
        found = resolve(cls.name, declared, given, origin=origin, contradictions=cls.contradictions)
        return replace(found, row_formats=cls.row_formats, figures=cls.figures)

    def train(self, *args: Any, **given: Any) -> Any:
        """Train, and return what the backend returns: a `TrainingResult` from those of Training Hub.

        Args:
            *args: Values of the leading parameters, in the order of `positional`.
            **given: Parameters by name, and the backend's own arguments.

        Raises:
            UserError: The request does not hold; nothing was started. Also a ValueError or FileNotFoundError.
            TrainingFailedError: Training started and did not finish.
        """
        from training_hub.execution.session import execute

        values = self.settings | self.by_name(args, given)
        named = values.pop("backend", None)
        if named not in (None, self.backend.name):
            raise ParameterError(
                f"backend={named!r}: this algorithm was created with backend {self.backend.name!r}; "
                f"create another one: create_algorithm({self.name!r}, {named!r})"
            )
        return execute(self.backend, self.resolve(values, backend=type(self.backend)))

    @classmethod
    def by_name(cls, args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        """Give positional values their names."""
        if len(args) > len(cls.positional):
            raise TypeError(
                f"{cls.name}() takes at most {len(cls.positional)} positional values "
                f"({', '.join(cls.positional)}); {len(args)} were given"
            )
        named = dict(zip(cls.positional, args, strict=False))
        if twice := named.keys() & given.keys():
            raise TypeError(f"{cls.name}() got several values for {', '.join(sorted(twice))}")
        return {**named, **given}
