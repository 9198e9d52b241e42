"""What an algorithm is: its parameters, its checks, and the backend that carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from training_hub.errors import ParameterError
from training_hub.parameters.declaration import Parameter, declared
from training_hub.parameters.resolution import Contradiction, Parameters, resolve

if TYPE_CHECKING:
    from training_hub.backend import Backend


class Algorithm:
    """What is learned, and with which parameters.

    A plugin's algorithm subclasses this and sets `name`, `parameters` (a `TypedDict` built from
    `training_hub.parameters`) and, where it likes, the rest.
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

    def __init__(self, backend: Backend, **settings: Any) -> None:
        """Args:
        backend: Carries the algorithm out.
        **settings: Parameters that every `train` of this object starts from.
        """
        self.backend = backend
        self.settings = settings

    @classmethod
    def declared(cls) -> dict[str, Parameter]:
        """Every parameter by name, with the algorithm's own defaults."""
        return declared(cls.parameters, cls.defaults)

    def get_required_params(self) -> dict[str, Any]:
        """Names and types of the parameters that have no default."""
        return {name: p.bare_type for name, p in self.declared().items() if p.required}

    def get_optional_params(self) -> dict[str, Any]:
        """Names and types of the parameters that have a default."""
        return {name: p.bare_type for name, p in self.declared().items() if not p.required}

    @classmethod
    def resolve(cls, given: Mapping[str, Any], origin: Mapping[str, str] | None = None) -> Parameters:
        """Check `given` and fill in the rest.

        Raises:
            ParameterError: A value is missing, ill-typed, out of bounds or contradicts another.
        """
        return resolve(cls.name, cls.declared(), given, origin=origin, contradictions=cls.contradictions)

    def train(self, *args: Any, **given: Any) -> Any:
        """Train, and return what the backend returns: a `TrainingResult` from those of Training Hub.

        Args:
            *args: Values of the leading parameters, in the order of `positional`.
            **given: Parameters by name, and the backend's own arguments.
        """
        values = self.settings | self.by_name(args, given)
        named = values.pop("backend", None)
        if named not in (None, self.backend.name):
            raise ParameterError(
                f"backend={named!r}: this algorithm was created with backend {self.backend.name!r}; "
                f"create another one: create_algorithm({self.name!r}, {named!r})"
            )
        return self.backend.carry_out(self.resolve(values))

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
