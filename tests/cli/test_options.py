"""Options are what the algorithms declare."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from training_hub import Algorithm, AlgorithmRegistry, Backend
from training_hub.algorithms.lora_sft import LoRASFTAlgorithm
from training_hub.algorithms.osft import OSFTAlgorithm
from training_hub.algorithms.sft import SFTAlgorithm
from training_hub.cli import main
from training_hub.cli.options import offered
from training_hub.cli.values import is_list, is_mapping, members
from training_hub.errors import ParameterError
from training_hub.parameters import REQUIRED, Param

ALGORITHMS: dict[str, type[Algorithm]] = {
    "sft": SFTAlgorithm,
    "osft": OSFTAlgorithm,
    "lora_sft": LoRASFTAlgorithm,
}
BASE = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o", "unfreeze_rank_ratio": 0.5}


def base(algorithm: str, without: str = "") -> dict[str, Any]:
    declared = ALGORITHMS[algorithm].declared()
    return {name: value for name, value in BASE.items() if name in declared and name != without}


def as_options(values: dict[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_help_has_every_parameter_but_callbacks(algorithm: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", algorithm, "--help"]) == 0
    printed = capsys.readouterr().out
    # Lines are broken at spaces and hyphens.
    text = " ".join(printed.split()).replace("- ", "-")
    for parameter in ALGORITHMS[algorithm].declared().values():
        option = f"--{parameter.name.replace('_', '-')} "
        assert (option in text) == (parameter.name != "callbacks"), parameter.name
        if parameter.name != "callbacks":
            assert parameter.help.replace("- ", "-") in text
            assert f"{parameter.group}:" in text


def test_help_says_expectation_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "sft", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Peak learning rate. (a number greater than 0 and at most 1; default: 2e-05)" in text
    assert "default: the greater of 8192 and max_seq_len" in text
    assert "(a path that is not empty; required)" in text
    assert "--use-liger / --no-use-liger" in text


def text() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=("C", "Zl", "Zp"), exclude_characters="\ufeff"), max_size=8)


def of(annotation: Any, bounds: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values of a type, mostly inside its bounds."""
    if get_origin(annotation) is Annotated:
        return of(get_args(annotation)[0], (*bounds, *get_args(annotation)[1:]))
    found = members(annotation)
    if len(found) > 1:
        kinds = get_args(annotation)
        return st.one_of(*(of(kind, bounds) for kind in kinds if kind is not type(None)))
    (kind,) = found
    parts = [part for bound in bounds for part in (bound if isinstance(bound, Interval) else (bound,))]
    low = next((p.ge if isinstance(p, Ge) else p.gt for p in parts if isinstance(p, Ge | Gt)), None)
    high = next((p.le if isinstance(p, Le) else p.lt for p in parts if isinstance(p, Le | Lt)), None)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(low if low is not None else -(10**9), high if high is not None else 10**9)
    if kind is float:
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    if get_origin(kind) is not None and str(get_origin(kind)).endswith("Literal"):
        return st.sampled_from(get_args(kind))
    if is_list(kind):
        return st.lists(of(get_args(kind)[0]), max_size=3)
    if hasattr(kind, "__total__"):
        hints = {name: of(hint) for name, hint in kind.__annotations__.items()}
        return st.fixed_dictionaries({}, optional=hints)
    if is_mapping(kind):
        value = get_args(kind)[1]
        scalar = st.one_of(st.integers(-5, 5), st.floats(-1, 1), st.booleans(), text()) if value is Any else of(value)
        return st.dictionaries(text(), scalar, max_size=3)
    return text().filter(bool) if any(isinstance(p, MinLen) for p in parts) else text()


CASES = st.sampled_from(
    [
        (algorithm, parameter)
        for algorithm, kind in ALGORITHMS.items()
        for parameter in offered(kind.declared()).values()
        if parameter.name != "backend"
    ]
).flatmap(lambda case: st.tuples(st.just(case[0]), st.just(case[1]), of(case[1].type)))


def option_for(parameter: Any, value: Any) -> str:
    name = parameter.name.replace("_", "-")
    found = members(parameter.type)
    if found == (bool,):
        return f"--{name}" if value else f"--no-{name}"
    if all(kind is str or (not isinstance(kind, type) and "PathLike" in str(kind)) for kind in found):
        return f"--{name}={value}"
    if isinstance(value, str) and any("Literal" in str(kind) for kind in found):
        return f"--{name}={value}"
    return f"--{name}={json.dumps(value, ensure_ascii=False)}"


class Keeping(Backend):
    """Keeps what it was given."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def execute_training(self, algorithm_params: dict[str, Any]) -> None:
        self.seen.append(algorithm_params)


def outcome(run: Any) -> dict[str, Any] | str:
    """What a backend was given, or that the values were refused."""
    Keeping.seen.clear()
    try:
        refused = run() == 2
    except ParameterError:
        refused = True
    return "refused" if refused else Keeping.seen[-1]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CASES)
def test_a_value_is_the_same_by_option_by_file_and_in_python(case: tuple[str, Any, Any]) -> None:
    algorithm, parameter, value = case
    for name in ALGORITHMS:
        AlgorithmRegistry.register_backend(name, "keeping", Keeping)
    others = base(algorithm, parameter.name)
    command = ["train", algorithm, "--backend", "keeping"]
    in_python = outcome(lambda: ALGORITHMS[algorithm](Keeping()).train(**others, **{parameter.name: value}))
    by_option = outcome(lambda: main([*command, *as_options(others), option_for(parameter, value)]))
    with tempfile.TemporaryDirectory() as directory:
        yaml, js = Path(directory) / "run.yaml", Path(directory) / "run.json"
        yaml.write_text(f"{parameter.name}: {json.dumps(value, ensure_ascii=False)}\n", encoding="utf-8")
        js.write_text(json.dumps({parameter.name: value}, indent="\t"), encoding="utf-8")
        by_yaml = outcome(lambda: main([*command, *as_options(others), "--config", str(yaml)]))
        by_json = outcome(lambda: main([*command, *as_options(others), "--config", str(js)]))
    assert by_option == in_python
    assert by_yaml == in_python
    assert by_json == in_python


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["--target-modules", "q_proj,v_proj"], ["q_proj", "v_proj"]),
        (["--target-modules", "q_proj", "--target-modules", "v_proj"], ["q_proj", "v_proj"]),
        (["--target-modules", '["q_proj", "v_proj"]'], ["q_proj", "v_proj"]),
        (["--target-modules", "[q_proj]"], ["q_proj"]),
        (["--target-modules", "all-linear"], "all-linear"),
        (["--target-modules", '"a,b"'], "a,b"),
        (["--rank-pattern", "{q_proj: 4}"], {"q_proj": 4}),
        (["--rank-pattern", '{"q_proj":4}'], {"q_proj": 4}),
        (["--init-lora-weights", "pissa"], "pissa"),
        (["--init-lora-weights", "false"], False),
        (["--nproc-per-node", "gpu"], "gpu"),
        (["--nproc-per-node", "4"], 4),
        (["--num-epochs", "1e1"], 10),
        (["--learning-rate", "2e-5"], 2e-5),
        (["--learning_rate", "2e-5"], 2e-5),
        (["--learning-rate=1", "--learning-rate=2e-5"], 2e-5),
        (["--wandb-run-name", "12"], "12"),
        (["--wandb-run-name", "null"], "null"),
        (["--wandb-run-name", ""], ""),
        (["--no-save-model"], False),
        (["--no_save_model"], False),
    ],
)
def test_values_as_people_write_them(texts: list[str], expected: Any, recording: Any) -> None:
    name = texts[0].partition("=")[0].removeprefix("--").replace("-", "_").removeprefix("no_")
    assert main(["train", "lora_sft", "--backend", "recording", *as_options(base("lora_sft")), *texts]) == 0
    assert recording.seen[-1][name] == expected
    assert type(recording.seen[-1][name]) is type(expected)


def test_an_unknown_option_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", "--lerning-rate", "1"]) == 2
    assert "--learning-rate" in capsys.readouterr().err


def test_callbacks_are_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", "--callbacks", "x"]) == 2
    assert "--callbacks" in capsys.readouterr().err


def test_a_broken_list_says_how_to_write_one(capsys: pytest.CaptureFixture[str], recording: Any) -> None:
    assert main(["train", "osft", "--target-patterns", "[a", *as_options(base("osft"))]) == 2
    assert "target_patterns: '[a' is neither JSON nor YAML" in capsys.readouterr().err


def test_a_mapping_that_has_a_key_twice_is_refused(capsys: pytest.CaptureFixture[str], recording: Any) -> None:
    twice = ["--lr-scheduler-kwargs", "{num_cycles: 1, num_cycles: 2}"]
    assert main(["train", "sft", *twice, *as_options(base("sft"))]) == 2
    said = capsys.readouterr().err
    assert "lr_scheduler_kwargs" in said and "num_cycles is given twice" in said
    assert not recording.seen


class Preferences(TypedDict, total=False):
    """Preferences."""

    model_path: Annotated[str, Param(REQUIRED, "The model.")]
    data_path: Annotated[str, Param(REQUIRED, "The pairs.")]
    ckpt_output_dir: Annotated[str, Param(REQUIRED, "The run's directory.")]
    beta: Annotated[float, Gt(0), Param(0.1, "How far the model may go.")]
    config: Annotated[str | None, Param(None, "Bears the name of an option of the command.")]
    reward: Annotated[Backend | None, Param(None, "An object, which no text can name.")]


class PreferenceAlgorithm(Algorithm):
    """Learns from preferences.

    And more about it.
    """

    name: ClassVar[str] = "dpo"
    parameters: ClassVar[type] = Preferences


def test_an_algorithm_of_a_plugin_has_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    AlgorithmRegistry.register_algorithm("dpo", PreferenceAlgorithm)
    assert main(["train", "--help"]) == 0
    assert "Learns from preferences." in capsys.readouterr().out
    assert main(["train", "dpo", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--beta NUMBER" in text
    assert "--reward" not in text
    assert text.count("--config") == 1


@pytest.mark.parametrize("spelling", ["lora_sft", "lora-sft"])
def test_an_algorithm_may_be_spelt_with_a_hyphen(spelling: str, recording: Any) -> None:
    assert main(["train", spelling, *as_options(base("lora_sft"))]) == 0


def test_an_unknown_algorithm_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "lora_sf"]) == 2
    assert "did you mean 'lora_sft'?" in capsys.readouterr().err


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plam", "sft"]) == 2
    assert "'plan'" in capsys.readouterr().err
