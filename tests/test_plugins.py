"""Plugins are found by metadata, loaded behind a fence: real entry points of packages made here."""

import json
import sys
import textwrap

import pytest

from training_hub import AlgorithmRegistry, Backend, SFTAlgorithm, create_algorithm
from training_hub.data import check_dataset
from training_hub.errors import (
    AlgorithmNotFoundError,
    BackendNotFoundError,
    BackendUnavailableError,
    DatasetError,
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

    def make(name, source, *, package=None, module=None, value=None, requires=None):
        package = package or f"package-{name}"
        module = module or f"module_{name.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source).replace("NAME", name))
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n{needs}")
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
    "silent": (GOOD.replace("training_hub_hooks = 1", ""), "its author writes `training_hub_hooks = 1`"),
    "unmarked": (
        GOOD + "    def training_hub_algorithms(): return []\n",
        "has the function training_hub_algorithms without @hookimpl",
    ),
    "misnamed": (GOOD.replace('"NAME"', '"other"'), "brings no backend of its entry point's name, 'misnamed'"),
    "typo": (GOOD.replace("training_hub_backends", "training_hub_backend"), "(did you mean 'training_hub_backends'?)"),
    "wrong": (GOOD.replace('"NAME": B', '"NAME": dict'), "something else than a Backend class for 'wrong'"),
    "aborts": (GOOD.replace("return {", "raise BaseException('y'); return {"), "fails in its hooks: BaseException: y"),
    "hooked": (GOOD.replace("return {", "raise KeyError('x'); return {"), "fails in its hooks: KeyError"),
    "argument": (GOOD.replace("training_hub_backends()", "training_hub_backends(hub)"), "Argument(s) {'hub'}"),
    "newhook": (GOOD + "    @hookimpl\n    def training_hub_soup(): return 1\n", "the hook training_hub_soup, which"),
    "shadow": (
        GOOD + "    @hookimpl\n    def training_hub_commands(): return {'train': print}\n",
        "brings the command 'train', which is the hub's own",
    ),
    "nocommand": (
        GOOD + "    @hookimpl\n    def training_hub_commands(): return {'mine': 5}\n",
        "something else than a function for the command 'mine'",
    ),
    "ownsft": (
        GOOD
        + "    from training_hub import SFTAlgorithm\n    @hookimpl\n"
        + "    def training_hub_algorithms(): return [SFTAlgorithm]\n",
        "brings the algorithm 'sft', which is the hub's own",
    ),
    "rowless": (
        GOOD
        + "    from training_hub import SFTAlgorithm\n    @hookimpl\n    def training_hub_algorithms():\n"
        + "        return [type('A', (SFTAlgorithm,), {'name': 'mine', 'row_formats': ()})]\n",
        "cannot be registered: it names no row_formats",
    ),
    "pathless": (
        GOOD
        + "    from training_hub.plugin import Algorithm, Schedule\n    @hookimpl\n"
        + "    def training_hub_algorithms(): return [type('A', (Algorithm,), {'name': 'm', 'parameters': Schedule})]\n",
        "it does not declare model_path, data_path, ckpt_output_dir: let its parameters inherit from Essentials",
    ),
    "undeclared": (
        GOOD + "    @hookimpl\n    def training_hub_algorithms(): return [type('A', (), {'name': 'm'})]\n",
        "something else than an Algorithm class: m",
    ),
    "twofold": (
        GOOD.replace(
            "class B(Backend):",
            """from typing import Annotated
    from typing_extensions import TypedDict
    from training_hub.plugin import Param
    class Own(TypedDict, total=False):
        \"\"\"Own.\"\"\"
        seed: Annotated[str, Param("a", "Another seed.")]
    class B(Backend):
        parameters = Own""",
        ),
        "the parameter seed is declared twice",
    ),
    "bare": (
        GOOD.replace(
            "class B(Backend):",
            """from typing_extensions import TypedDict
    class Own(TypedDict, total=False):
        \"\"\"Own.\"\"\"
        mine: int
    class B(Backend):
        parameters = Own""",
        ),
        "declare it as Annotated",
    ),
    "formless": (
        GOOD + "    @hookimpl\n    def training_hub_row_formats(): return [int]\n",
        "something else than a RowFormat",
    ),
    "nameless": (
        GOOD
        + "    from training_hub.plugin import RowFormat\n    class F(RowFormat):\n"
        + "        def recognises(self, row, options): return True\n        convert = encode = recognises\n"
        + "    @hookimpl\n    def training_hub_row_formats(): return [F()]\n",
        "brings a row format without a name: give F one",
    ),
    "again": (
        GOOD
        + """
    from typing import Annotated
    from training_hub.plugin import Algorithm, Essentials, Param, Schedule
    class Own(Essentials, Schedule, total=False):
        num_epochs: Annotated[float, Param(0.5, "A weight.")]
    class A(Algorithm):
        name, parameters, row_formats = "mine", Own, ("messages",)
    @hookimpl
    def training_hub_algorithms(): return [A]
""",
        "Own: Schedule declares the parameter num_epochs, which is declared again",
    ),
    "sibling": (
        GOOD
        + """
    from typing import Annotated
    from typing_extensions import TypedDict
    from training_hub.plugin import Algorithm, Essentials, Param, Schedule
    class Options(TypedDict, total=False):
        num_epochs: Annotated[float, Param(0.5, "A weight.")]
    class Own(Essentials, Schedule, Options, total=False): ...
    class A(Algorithm):
        name, parameters, row_formats = "mine", Own, ("messages",)
    @hookimpl
    def training_hub_algorithms(): return [A]
""",
        "Own: Schedule declares the parameter num_epochs, which is declared again",
    ),
    "stranger": (
        GOOD
        + """
    from typing import Annotated
    from training_hub.plugin import Algorithm, Essentials, Param
    class Own(Essentials, total=False):
        num_epochs: Annotated[float, Param(0.5, "A weight.")]
    class A(Algorithm):
        name, parameters, row_formats = "mine", Own, ("messages",)
    @hookimpl
    def training_hub_algorithms(): return [A]
""",
        "the parameter num_epochs is declared twice",
    ),
    "trackless": (
        GOOD + "    @hookimpl\n    def training_hub_trackers(): return [int]\n",
        "something else than a Tracker class",
    ),
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
        create_algorithm("unheard_of")


def test_a_backend_that_does_not_name_the_algorithm_that_recommends_it_is_not_said_to_be_missing(package):
    package(
        "unnamed",
        GOOD
        + """
    from training_hub import SFTAlgorithm
    class A(SFTAlgorithm):
        name, recommended_backends = "its-sft", ("unnamed",)
    @hookimpl
    def training_hub_algorithms(): return [A]
""",
    )
    with pytest.raises(
        BackendNotFoundError, match="unnamed: installed, and the `algorithms` of its backend do not name"
    ):
        create_algorithm("its-sft")


PAIRS = """
    from training_hub.plugin import Algorithm, Essentials, RowFormat, hookimpl
    training_hub_hooks = 1
    class Form(RowFormat):
        name, expected = "NAME", "'NAME'"
        def recognises(self, row, options):
            RECOGNISES
        def convert(self, row, options):
            return row
        def encode(self, examples, encoder):
            return []
    class Learns(Algorithm):
        name, parameters, row_formats = "learns-NAME", Essentials, ("NAME",)
    @hookimpl
    def training_hub_row_formats():
        return [Form()]
    @hookimpl
    def training_hub_algorithms():
        return [Learns]
"""


def checked(algorithm, row, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    kind = AlgorithmRegistry.get_algorithm(algorithm)
    return check_dataset(path, formats=discovery.formats_of(algorithm, kind.row_formats))


def test_a_form_whose_recognition_raises_is_named_where_it_is_asked_for_and_stops_nobody_else(
    package, tmp_path, caplog
):
    package("odd", PAIRS.replace("RECOGNISES", "raise KeyError('oh')"))
    with pytest.raises(DatasetError, match=r"the row format 'odd' \(module_odd\) fails at recognising a row: KeyError"):
        checked("learns-odd", {"odd": 1}, tmp_path)
    with pytest.raises(DatasetError, match="no known format has its keys: 'odd'"):
        checked("sft", {"odd": 1}, tmp_path)
    assert "the row format 'odd' (module_odd) fails: 'oh'" in caplog.text


def test_a_form_that_claims_every_row_takes_none_from_others(package, tmp_path):
    package("greedy", PAIRS.replace("RECOGNISES", "return True"))
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert checked("sft", {"messages": messages}, tmp_path).format == "messages"
    with pytest.raises(DatasetError, match="it is a greedy row .'greedy'., which learns-greedy learns from"):
        checked("sft", {"unknown": 1}, tmp_path)


def test_two_forms_of_one_algorithm_that_both_claim_a_row_are_both_named(package, tmp_path):
    package("both", PAIRS.replace("RECOGNISES", "return True").replace('("NAME",)', '("NAME", "messages")'))
    with pytest.raises(DatasetError, match="the row formats 'both' .module_both. and 'messages' .* both recognise"):
        checked("learns-both", {"messages": []}, tmp_path)


def test_an_algorithm_whose_form_nobody_brings_says_so(package, tmp_path):
    package("lonely", PAIRS.replace("RECOGNISES", "return True").replace('("NAME",)', '("other",)'))
    with pytest.raises(
        PluginError, match="'learns-lonely' learns from rows of 'other', and no plugin that loads brings"
    ):
        checked("learns-lonely", {"a": 1}, tmp_path)


def test_of_two_plugins_that_bring_one_algorithm_the_second_is_listed_with_both_packages(package):
    package("first", PAIRS.replace("RECOGNISES", "return True").replace("learns-NAME", "same"))
    package("second", PAIRS.replace("RECOGNISES", "return True").replace("learns-NAME", "same"))
    assert "plugin 'second' (package-second 1.0) brings the algorithm 'same', which plugin 'first'" in reason("second")
    assert "package-first 1.0" in reason("second")
    assert AlgorithmRegistry.get_algorithm("same").row_formats == ("first",)


def test_a_plugin_for_a_newer_core_is_listed_with_that_before_it_is_imported(package):
    package("newer", "raise RuntimeError('imported')", requires="training-hub>=99")
    assert "needs training-hub>=99, and" in reason("newer") and "pip install --upgrade training-hub" in reason("newer")


def test_there_is_one_manager_and_the_hubs_own_things_come_by_its_hooks(package):
    package("one", GOOD)
    package("two", GOOD)
    for name in ("one", "two"):
        discovery.load(name)
    manager = discovery._manager()
    assert {"training-hub", "one", "two"} <= {name for name, _ in manager.list_name_plugin()}
    assert {tracker.name for tracker in discovery.builtin_trackers()} == {"wandb", "tensorboard", "mlflow", "kubeflow"}
    assert list(discovery.builtin_algorithms()) == ["sft", "osft", "lora_sft"]


def test_an_algorithm_without_what_the_hub_needs_is_refused_when_it_is_registered():
    for broken, said in (
        (type("A", (SFTAlgorithm,), {"row_formats": ()}), "row_formats"),
        (type("A", (SFTAlgorithm,), {"positional": ("nope",)}), "positional parameters name nope"),
        (dict, "expected a subclass of training_hub.Algorithm"),
    ):
        with pytest.raises(TypeError, match=said):
            AlgorithmRegistry.register_algorithm("mine", broken)


def test_of_two_plugins_with_one_algorithm_the_second_is_left_out_and_refused_when_named(package):
    package("alpha", PAIRS.replace("RECOGNISES", "return True").replace("learns-NAME", "learns-both"))
    package(
        "beta",
        PAIRS.replace("RECOGNISES", "return True").replace("learns-NAME", "learns-both")
        + GOOD.replace('("sft",)', '("learns-both",)'),
    )
    assert "brings the algorithm 'learns-both', which plugin 'alpha' (package-alpha 1.0) brings too" in reason("beta")
    with pytest.raises(PluginError, match="'learns-both', which plugin 'alpha' .* brings too: uninstall one of them"):
        create_algorithm("learns-both", "beta")
