"""Plugins are found by metadata, loaded behind a fence: real entry points of packages made here."""

import sys
import textwrap

import pytest

from training_hub import AlgorithmRegistry, Backend, SFTAlgorithm, create_algorithm
from training_hub.errors import (
    AlgorithmNotFoundError,
    BackendNotFoundError,
    BackendUnavailableError,
    PluginError,
    UserError,
)
from training_hub.plugins import discovery

GOOD = """
    from training_hub import Backend, hookimpl
    training_hub_hooks = 1
    class B(Backend):
        algorithms = ("sft",)
        def execute_training(self, algorithm_params):
            return algorithm_params
    @hookimpl
    def training_hub_backends():
        return {"NAME": B}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes an importable package with an entry point, as pip would install it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(name, source, *, package=None, module=None, value=None):
        package = package or f"package-{name}"
        module = module or f"module_{name.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source).replace("NAME", name))
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{discovery.GROUP}]\n{name} = {value or module}\n")
        made.append(module)

    yield make
    for module in made:
        sys.modules.pop(module, None)


def reason(name):
    _, broken = discovery.loadable()
    return str(broken[name])


def test_metadata_alone_lists_a_plugin_without_importing_it(package):
    package("lazy", GOOD)
    plugin = discovery.installed()["lazy"]
    assert (plugin.package, plugin.version) == ("package-lazy", "1.0")
    assert "module_lazy" not in sys.modules


def test_a_plugins_backend_trains(package):
    package("mine", GOOD)
    assert create_algorithm("sft", "mine").train("m", "d", "o")["model_path"] == "m"
    assert "mine" in AlgorithmRegistry.list_backends("sft")


BROKEN = {
    "raises": ("raise RuntimeError('no such driver')", "fails on import: RuntimeError: no such driver"),
    "leaves": ("import sys; sys.exit(3)", "fails on import: SystemExit: 3"),
    "panics": (
        "class PanicException(BaseException): ...\nraise PanicException('index out of bounds')",
        "fails on import: PanicException: index out of bounds",
    ),
    "old": (
        GOOD.replace("hooks = 1", "hooks = 0"),
        "was written for hook version 0; this training-hub speaks version 1",
    ),
    "silent": (GOOD.replace("training_hub_hooks = 1", ""), "names no training_hub_hooks"),
    "misnamed": (GOOD.replace('"NAME"', '"other"'), "brings no backend of its entry point's name, 'misnamed'"),
    "typo": (GOOD.replace("training_hub_backends", "training_hub_backend"), "unknown hook"),
    "wrong": (GOOD.replace('"NAME": B', '"NAME": dict'), "something else than a Backend class for 'wrong'"),
    "aborts": (GOOD.replace("return {", "raise BaseException('y'); return {"), "fails in its hooks: BaseException: y"),
    "hooked": (GOOD.replace("return {", "raise KeyError('x'); return {"), "fails in its hooks: KeyError"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_listed_with_its_reason_and_stops_nobody(package, name):
    source, expected = BROKEN[name]
    package(name, source)
    package("sound", GOOD)
    assert expected in reason(name)
    assert create_algorithm("sft", "sound").train("m", "d", "o")["model_path"] == "m"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_that_is_asked_for_stops_the_run_with_its_reason(package, name):
    source, expected = BROKEN[name]
    package(name, source)
    with pytest.raises(PluginError) as raised:
        create_algorithm("sft", name)
    assert expected in str(raised.value)


def test_an_interrupt_while_a_plugin_is_imported_reaches_the_caller(package):
    package("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        create_algorithm("sft", "slow")


class Sound(Backend):
    def execute_training(self, algorithm_params):
        return algorithm_params


class Raising(Sound):
    def availability(self):
        raise RuntimeError("no such driver")


class Leaving(Sound):
    def availability(self):
        sys.exit(3)


class Silent(Sound):
    def availability(self):
        pass


class Needing(Sound):
    def __init__(self, device):
        pass


class Abstract(Backend):
    pass


UNABLE = {
    Raising: "RuntimeError: no such driver",
    Leaving: "SystemExit: 3",
    Silent: "AttributeError: 'NoneType'",
    Needing: "TypeError: .*'device'",
    Abstract: "TypeError: Can't instantiate abstract class Abstract",
}


@pytest.mark.parametrize("kind", UNABLE)
def test_a_backend_whose_check_fails_is_passed_over_and_refused_when_named(monkeypatch, kind):
    monkeypatch.setattr(AlgorithmRegistry, "_algorithms", {"mine": type("Mine", (SFTAlgorithm,), {"name": "mine"})})
    monkeypatch.setattr(AlgorithmRegistry, "_backends", {("mine", "first"): kind, ("mine", "second"): Sound})
    with pytest.raises(
        BackendUnavailableError, match=f"'first' cannot run here: its check fails: {UNABLE[kind]}"
    ) as raised:
        create_algorithm("mine", "first")
    assert raised.value.__cause__ is not None
    algorithm = create_algorithm("mine")
    assert algorithm.backend.name == "second"
    assert "passed over first: its check fails: " in algorithm.backend.chosen_because


@pytest.mark.parametrize("asked", [(5,), (["sft"],), ("sft", 5), ("sft", ["trl"]), ("sft", Sound)])
def test_what_is_no_name_is_said_to_be_none(asked):
    with pytest.raises(UserError, match="expected the name of a"):
        create_algorithm(*asked)


def test_an_entry_point_that_leads_nowhere_is_a_broken_plugin(package):
    package("nowhere", "", value="no_such_module:thing")
    assert "fails on import: ModuleNotFoundError" in reason("nowhere")


def test_two_packages_of_one_name_are_both_refused_and_named(package):
    package("twice", GOOD, package="first-package")
    package("twice", GOOD, package="second-package", module="module_twice_2")
    assert "first-package" in reason("twice") and "second-package" in reason("twice")
    with pytest.raises(PluginError, match="uninstall all but one"):
        create_algorithm("sft", "twice")


def test_a_variable_limits_what_is_loaded(package, monkeypatch):
    package("one", GOOD)
    package("two", GOOD)
    monkeypatch.setenv(discovery.ALLOWLIST, "two")
    assert create_algorithm("sft", "two").backend.name == "two"
    assert "switched off: TRAINING_HUB_PLUGINS='two'" in reason("one")
    monkeypatch.setenv(discovery.ALLOWLIST, "")
    with pytest.raises(PluginError, match="switched off"):
        create_algorithm("sft", "two")


def test_a_variable_that_names_no_plugin_says_so(package, monkeypatch):
    package("one", GOOD)
    monkeypatch.setenv(discovery.ALLOWLIST, "oen")
    with pytest.raises(PluginError, match="does not name it, and names 'oen', which is not installed"):
        create_algorithm("sft", "one")


def test_a_backend_that_executes_something_else_says_so(package):
    package("mine", GOOD)
    with pytest.raises(BackendNotFoundError, match="does not execute 'osft', but sft"):
        create_algorithm("osft", "mine")


def test_an_unknown_algorithm_names_the_plugins_that_could_not_be_searched(package):
    package("raises", "raise RuntimeError('no such driver')")
    with pytest.raises(AlgorithmNotFoundError, match="no such driver"):
        create_algorithm("dpo")
