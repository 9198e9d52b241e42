"""Listing and loading: a plugin costs nothing until its backend trains."""

from __future__ import annotations

import pytest

from training_hub.backends.base import Availability, Backend
from training_hub.errors import AlgorithmNotFoundError, PluginError
from training_hub.plugins import discovery
from training_hub.plugins.hookspecs import VERSION
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.testing.checks.watched import Watched, stage_of
from training_hub.testing.watch import Stage


class Metadata(Watched):
    """Checks of the entry point, the hooks and the class."""

    def test_it_is_installed(self) -> None:
        found = discovery.installed()
        assert self.backend in found, (
            f"no installed package has an entry point {self.backend!r} in the group {discovery.GROUP!r}; there are: "
            f"{', '.join(found) or 'none'}"
        )
        assert len(found[self.backend].entry_points) == 1, f"several packages bring it: {found[self.backend].package}"

    def test_its_plugin_loads(self) -> None:
        if self.backend not in discovery.installed():
            pytest.skip(f"{self.backend} is not installed")
        try:
            loaded = discovery.load(self.backend)
        except PluginError as error:
            pytest.fail(f"{error} (the hooks have version {VERSION})")
        assert self.backend in loaded.backends, (
            f"training_hub_backends returns {', '.join(loaded.backends) or 'nothing'}, and not {self.backend!r}"
        )

    def test_its_class_is_made_without_arguments(self) -> None:
        try:
            kind = self.kind()
        except Exception as error:
            pytest.skip(f"{self.backend} cannot be loaded: {error}")
        try:
            made = kind()
        except Exception as error:
            pytest.fail(f"the hub makes {kind.__name__}(); that fails: {type(error).__name__}: {error}")
        assert isinstance(made, Backend)

    def test_its_algorithms_exist_and_list_it(self, loads: None) -> None:
        kind = self.kind()
        assert kind.algorithms, f"{kind.__name__}.algorithms is empty: say which algorithms it executes"
        for name in kind.algorithms:
            try:
                listed = AlgorithmRegistry.list_backends(name)
            except AlgorithmNotFoundError as error:
                pytest.fail(f"{kind.__name__}.algorithms names {name!r}: {error}")
            assert self.backend in listed
            assert issubclass(AlgorithmRegistry.get_backend(name, self.backend), kind)

    def test_listing_imports_nothing_of_it(self, stages: dict[str, Stage]) -> None:
        assert not stages["list"].entry_imported, "the entry module is imported when the plugin is only listed"

    def test_loading_imports_no_framework(self, stages: dict[str, Stage]) -> None:
        _no_imports(stage_of(stages, "load"), "importing the entry module and calling its hooks")

    def test_asking_for_availability_imports_no_framework(self, stages: dict[str, Stage]) -> None:
        _no_imports(stage_of(stages, "availability"), "availability()")

    def test_availability_says_why(self, loads: None) -> None:
        found = self.made().availability()
        assert isinstance(found, Availability), f"availability() returns {found!r}; expected an Availability"
        assert found.available or found.reason.strip(), "it is not available here, and gives no reason"


def _no_imports(stage: Stage, what: str) -> None:
    assert not stage.imports, f"{what} imports:\n" + "\n".join(stage.imports)
