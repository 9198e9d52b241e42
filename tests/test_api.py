"""The public API with backends of one's own."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import training_hub
from training_hub import AlgorithmRegistry, Backend, TrainingHubError, create_algorithm, lora_sft, osft, sft
from training_hub.errors import (
    AlgorithmNotFoundError,
    BackendNotFoundError,
    BackendNotInstalledError,
    BackendUnavailableError,
    ParameterError,
)


class Returns(Backend):
    """Returns what it was given."""

    def execute_training(self, algorithm_params):
        return algorithm_params


class NeedsMagic(Returns):
    def availability(self):
        return training_hub.Availability(False, "there is no magic here")


@pytest.fixture
def registered():
    names = []

    def register(algorithm, name, backend):
        AlgorithmRegistry.register_backend(algorithm, name, backend)
        names.append((algorithm, name))

    yield register
    for key in names:
        AlgorithmRegistry._backends.pop(key, None)


def test_a_registered_backend_is_usable_at_once_in_function_and_algorithm(registered):
    registered("sft", "mine", Returns)
    by_function = sft(model_path="m", data_path="d", ckpt_output_dir="o", backend="mine", learning_rate=1e-3)
    by_object = create_algorithm("sft", backend_name="mine").train(
        model_path="m", data_path="d", ckpt_output_dir="o", learning_rate=1e-3
    )
    assert by_function == by_object
    assert by_function["learning_rate"] == 1e-3
    assert by_function["num_epochs"] == 3


def test_a_backend_that_only_executes_gets_all_further_keywords(registered):
    registered("sft", "mine", Returns)
    assert sft("m", "d", "o", "mine", anything={"at": "all"})["anything"] == {"at": "all"}


def test_micro_batches_that_contradict_reach_no_backend(registered):
    registered("lora_sft", "mine", Returns)
    with pytest.raises(ParameterError, match="micro_batch_size=2 x gradient_accumulation_steps=2 x 1 processes = 4"):
        lora_sft("m", "d", "o", "mine", micro_batch_size=2, gradient_accumulation_steps=2, effective_batch_size=16)


def test_the_backends_own_return_value_reaches_the_caller(registered):
    sentinel = object()
    registered("sft", "mine", type("Fixed", (Backend,), {"execute_training": lambda self, _: sentinel}))
    assert sft("m", "d", "o", "mine") is sentinel


def test_values_by_position_follow_the_older_order(registered):
    registered("osft", "mine", Returns)
    found = osft("m", "d", 0.3, 128, 10_000, 4096, 5e-6, "o", backend="mine")
    assert (found["unfreeze_rank_ratio"], found["effective_batch_size"], found["ckpt_output_dir"]) == (0.3, 128, "o")
    with pytest.raises(TypeError, match="several values for model_path"):
        sft("m", model_path="other")


def test_settings_of_an_algorithm_hold_for_each_of_its_runs(registered):
    registered("sft", "mine", Returns)
    algorithm = create_algorithm("sft", "mine", learning_rate=1e-3)
    assert algorithm.train("m", "d", "o")["learning_rate"] == 1e-3
    assert algorithm.train("m", "d", "o", learning_rate=1e-4)["learning_rate"] == 1e-4


def test_another_backend_than_the_algorithms_own_is_refused_not_ignored(registered):
    registered("sft", "mine", Returns)
    with pytest.raises(ParameterError, match="created with backend 'mine'"):
        create_algorithm("sft", "mine").train("m", "d", "o", backend="trl")


def test_a_known_backend_that_is_missing_names_its_install_command():
    with pytest.raises(BackendNotInstalledError) as raised:
        create_algorithm("osft", "mini-trainer")
    assert 'pip install "training-hub[minitrainer]"' in str(raised.value)
    assert isinstance(raised.value, ValueError)


def test_an_unknown_backend_is_answered_with_the_nearest():
    with pytest.raises(BackendNotFoundError, match="did you mean 'unsloth'"):
        create_algorithm("lora_sft", "unslot")


def test_an_unknown_algorithm_is_answered_with_the_nearest():
    with pytest.raises(AlgorithmNotFoundError, match="did you mean 'osft'"):
        create_algorithm("osftt")


def test_a_named_backend_that_cannot_run_is_refused_never_swapped(registered):
    registered("sft", "other", Returns)
    registered("sft", "magic", NeedsMagic)
    with pytest.raises(BackendUnavailableError, match="there is no magic here"):
        sft("m", "d", "o", "magic")


def test_without_a_name_the_first_that_can_run_is_chosen_and_the_reason_logged_in_one_line(registered, caplog):
    registered("sft", "a-magic", NeedsMagic)
    registered("sft", "mine", Returns)
    with caplog.at_level("INFO", logger="training_hub"):
        algorithm = create_algorithm("sft")
    [record] = [r for r in caplog.records if r.name == "training_hub"]
    assert "\n" not in record.getMessage()
    if algorithm.backend.name == "mine":
        assert "passed over" in record.getMessage()
        assert "there is no magic here" in record.getMessage()
    assert algorithm.backend.name in record.getMessage()


def test_a_backend_must_be_one():
    with pytest.raises(TypeError, match="subclass of training_hub.Backend"):
        AlgorithmRegistry.register_backend("sft", "x", dict)
    with pytest.raises(AlgorithmNotFoundError):
        AlgorithmRegistry.register_backend("nope", "x", Returns)


def test_classes_of_backends_are_named_from_the_hub_and_say_how_to_install_them():
    with pytest.raises(TrainingHubError, match="training-hub\\[unsloth\\]"):
        _ = training_hub.UnslothLoRABackend
    with pytest.raises(AttributeError):
        _ = training_hub.NoSuchThing


def test_every_public_name_is_there():
    for name in training_hub.__all__:
        assert getattr(training_hub, name) is not None


@pytest.mark.parametrize("name", ["sft", "osft", "lora_sft"])
def test_what_an_editor_reads_is_what_the_function_takes(name):
    stub = ast.parse(Path(training_hub.__file__).with_name("api.pyi").read_text(encoding="utf-8"))
    [written] = [node for node in stub.body if isinstance(node, ast.FunctionDef) and node.name == name]
    function = getattr(training_hub, name)
    known = inspect.signature(function).parameters
    asked = written.args
    assert [arg.arg for arg in asked.args] == [p.name for p in known.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [arg.arg for arg in asked.kwonlyargs] == [p.name for p in known.values() if p.kind is p.KEYWORD_ONLY]
    assert asked.kwarg.arg == "backend_kwargs"
    defaults = dict(zip([arg.arg for arg in asked.args][-len(asked.defaults) :], asked.defaults, strict=True))
    defaults |= {arg.arg: default for arg, default in zip(asked.kwonlyargs, asked.kw_defaults, strict=True)}
    for argument, default in defaults.items():
        shown = ast.literal_eval(default)
        assert shown == known[argument].default or (
            shown is ... and argument in ("max_tokens_per_gpu", "ckpt_output_dir")
        )
    assert {n for n, p in known.items() if p.default is p.empty} == {*known} - {*defaults}
    assert ast.get_docstring(written) == inspect.getdoc(function)


def test_importing_the_hub_imports_nothing_heavy():
    code = (
        "import training_hub, sys; from training_hub import sft, AlgorithmRegistry; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'pandas', 'pydantic', 'typer', 'rich') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
