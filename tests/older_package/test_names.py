"""Every name, module, signature and keyword of the older package works, or is answered by name."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest

import training_hub
from training_hub import Algorithm, AlgorithmRegistry, Backend, TrainingHubCallback, TrainingHubContext
from training_hub.errors import OlderNameError, ParameterError, PluginError, UserError
from training_hub.reading.older_keywords import OlderKeywords

HOMES = {"sft": "algorithms.sft", "osft": "algorithms.osft", "lora_sft": "algorithms.lora"}
CLASSES = {"sft": "SFTAlgorithm", "osft": "OSFTAlgorithm", "lora_sft": "LoRASFTAlgorithm"}
FORMED = {"rdzv_endpoint": "host:29500", "max_tokens_per_gpu": 9000, "checkpoint_storage": "pvc"}
NEEDED = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o"}


def answered(module, name):
    """Whether the name is there; where it is not, that the error says so by name."""
    try:
        exec(f"from {module} import {name}")
    except OlderNameError as error:
        assert name in str(error) or module.rpartition(".")[2] in str(error)
    except PluginError as error:
        assert name in str(error) and "pip install" in str(error)
    else:
        return True
    return False


def test_every_public_name(older):
    exported = older.exported()
    there = {name for name in exported if answered("training_hub", name)}
    assert there >= {*HOMES, *CLASSES.values(), "AlgorithmRegistry", "create_algorithm", "plot_loss", "welcome"}
    assert there >= {"TrainingHubCallback", "TrainingHubContext", "TrainingHubControl", "merge_default_callbacks"}
    for name in set(exported) - there:
        # Whoever asks whether it is there, as scripts for several releases do, is told no.
        assert name.endswith("Backend") or not hasattr(training_hub, name)


def test_every_module_with_every_name_that_it_defines(older):
    there = set()
    for below in older.modules:
        if not below or below.startswith("_") or below == "cli":
            continue
        module = f"training_hub.{below}"
        try:
            import_module(module)
        except OlderNameError as error:
            assert below.split(".")[0] in str(error) or below in str(error)
        else:
            there |= {(below, name) for name in older.names(below) if answered(module, name)}
    for algorithm, home in HOMES.items():
        assert {(home, algorithm), (home, CLASSES[algorithm])} <= there
    assert {("algorithms", name) for name in older.names("algorithms")} <= there
    assert {("visualization", "plot_loss"), ("callbacks", "TrainingHubControl")} <= there


def test_what_is_elsewhere_says_where_and_what_is_where_it_was_says_nothing(recwarn):
    from training_hub.algorithms.lora import lora_sft

    from training_hub.algorithms import create_algorithm

    assert (create_algorithm, lora_sft) == (training_hub.create_algorithm, training_hub.lora_sft)
    said = {str(warning.message): warning.filename for warning in recwarn}
    assert "training_hub.algorithms.lora.lora_sft is now training_hub.lora_sft" in " ".join(said)
    assert set(said.values()) == {__file__}
    recwarn.clear()
    from training_hub.algorithms import Algorithm  # noqa: F401
    from training_hub.algorithms.sft import SFTAlgorithm  # noqa: F401
    from training_hub.callbacks import TrainingHubCallback, TrainingHubContext  # noqa: F401

    assert not recwarn


def test_algorithms_that_are_not_here_are_answered_wherever_they_are_asked_for(older):
    registered = {
        node.args[0].value
        for tree in older.modules.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "AlgorithmRegistry.register_algorithm"
    }
    assert registered >= {"sft", "osft", "lora_sft", "lora_grpo"}
    for name in registered - set(AlgorithmRegistry.list_algorithms()):
        for ask in (training_hub.create_algorithm, AlgorithmRegistry.get_algorithm, AlgorithmRegistry.list_backends):
            with pytest.raises(ValueError, match=f"{name} of the older training_hub is not in this one: "):
                ask(name)


def test_backends_have_their_names(older):
    for tree in older.modules.values():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "AlgorithmRegistry.register_backend":
                continue
            algorithm, backend = (argument.value for argument in node.args[:2])
            if algorithm in HOMES:
                try:
                    AlgorithmRegistry.get_backend(algorithm, backend)
                except UserError as error:
                    assert "pip install" in str(error)


@pytest.mark.parametrize(
    ("module", "name", "ours"),
    [
        ("algorithms", "AlgorithmRegistry", AlgorithmRegistry),
        ("algorithms", "Algorithm", Algorithm),
        ("algorithms", "Backend", Backend),
        ("callbacks", "TrainingHubCallback", TrainingHubCallback),
    ],
)
def test_methods_take_the_same_arguments(older, module, name, ours):
    for node in older.definition(module, name).body:
        if isinstance(node, ast.FunctionDef):
            by_position, _ = older.arguments(module, name, node.name)
            taken = inspect.signature(getattr(ours, node.name)).parameters
            assert node.name == "train" or [n for n in taken if n not in ("self", "cls")] == by_position


def test_a_callback_is_told_what_it_was_told(older):
    for kind in (TrainingHubContext, training_hub.TrainingHubControl):
        fields = [
            n.target.id for n in older.definition("callbacks", kind.__name__).body if isinstance(n, ast.AnnAssign)
        ]
        assert fields and set(fields) <= vars(kind()).keys()


def test_create_algorithm_takes_the_same_arguments(older):
    by_position, _ = older.arguments("algorithms", "create_algorithm")
    assert list(inspect.signature(training_hub.create_algorithm).parameters)[:2] == by_position


def test_plot_loss_takes_every_keyword(older):
    _, written = older.arguments("visualization", "plot_loss")
    ours = {*inspect.signature(training_hub.plot_loss).parameters, *OlderKeywords.__annotations__}
    assert written.keys() <= ours


@pytest.mark.parametrize("algorithm", HOMES)
def test_the_leading_positions_are_the_same(older, algorithm):
    by_position, _ = older.arguments(HOMES[algorithm], algorithm)
    ours = AlgorithmRegistry.get_algorithm(algorithm).positional
    assert tuple(by_position[: len(ours)]) == ours


@pytest.mark.parametrize("algorithm", HOMES)
def test_every_keyword_is_taken_or_answered(older, algorithm):
    _, of_function = older.arguments(HOMES[algorithm], algorithm)
    _, of_method = older.arguments(HOMES[algorithm], CLASSES[algorithm], "train")
    # What the call's further keywords may be, the class says.
    listed = [
        older.definition(HOMES[algorithm], CLASSES[algorithm], f"get_{w}_params") for w in ("required", "optional")
    ]
    named = {key.value: "" for method in listed for n in ast.walk(method) if isinstance(n, ast.Dict) for key in n.keys}
    kind = AlgorithmRegistry.get_algorithm(algorithm)
    declared = kind.declared()
    needed = NEEDED | ({"unfreeze_rank_ratio": 0.5} if algorithm == "osft" else {})
    refused = {}
    for name, written in {**named, **of_method, **of_function}.items():
        value = FORMED.get(name) or sample(written, declared[name].type if name in declared else None)
        try:
            found = kind.resolve(needed | {name: value})
        except ParameterError as error:
            refused[name] = str(error)
            continue
        # A keyword that nobody knows is left for the backend; none of these is.
        assert not found.backend_kwargs, name
    for name, said in refused.items():
        # Of a value that holds by itself only what else it needs may be missing.
        assert name in said and "expected" not in said, said
    alone = {"block_size", "is_pretraining", "document_column_name", "nnodes", "node_rank", "eval_steps"}
    of_its_own = {"save_samples", "accelerate_full_state_at_epoch"} if algorithm == "lora_sft" else set()
    assert refused.keys() <= alone | of_its_own


def sample(written, annotation):
    """A value of a type as the older package wrote it down; of choices one that is a choice here."""
    choices = [value for member in members(annotation) if get_origin(member) is Literal for value in get_args(member)]
    if "ict[" in written:
        return {"a": 1}
    if choices and "str" in written:
        return choices[0]
    for kind, value in (("bool", True), ("float", 0.5), ("ist[str]", ["a"]), ("int", 2), ("str", "a")):
        if kind in written:
            return value
    return None


def members(annotation):
    if get_origin(annotation) is Annotated:
        yield from members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from members(member)
    else:
        yield annotation


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["lora-sft", "--lora-r", "8"], "thub is now training-hub: training-hub train lora_sft"),
        (["lora-grpo"], "lora_grpo of the older training_hub is not in this one"),
        ([], "thub is now training-hub: training-hub train;"),
    ],
)
def test_the_older_command_says_what_took_its_place(asked, said):
    code = "import sys; from training_hub.compat.command import main; sys.argv[0] = 'thub'; main()"
    ended = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and said in ended.stderr
