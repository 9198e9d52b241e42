"""A mistake of the user's is answered with what is wrong and where, and leaves everything as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from training_hub.errors import UserError
from training_hub.testing.checks.subject import LEARN_ROWS, Subject, first_trainable
from training_hub.testing.runs import Runs, Toy, left_in
from training_hub.testing.toy import conversations, write_rows

Mistake: TypeAlias = Callable[[Path, Toy], tuple[Mapping[str, Any], str]]
"""Makes the mistake in a directory: the parameters that differ, and what the error must say."""

_REFUSES = (
    "{%- for message in messages if 'unsayable' in message['content'] -%}"
    "{{ raise_exception('it does not say that') }}"
    "{%- endfor -%}"
)
"""Written before a chat template: a word that it refuses."""
UNKNOWN = "<|unknown|>"
"""A token that a tokenizer is given, and the model is not."""


def _missing_model(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    return {"model_path": str(place / "no-model")}, "no-model"


def _model_without_weights(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    shutil.copytree(toy.model, place / "hollow", ignore=shutil.ignore_patterns("*.safetensors"))
    return {"model_path": str(place / "hollow")}, "safetensors"


def _config_of_another_model(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    model = shutil.copytree(toy.model, place / "another")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    count = config["num_hidden_layers"] + 1
    (model / "config.json").write_text(json.dumps(config | {"num_hidden_layers": count}), encoding="utf-8")
    return {"model_path": str(model)}, f"num_hidden_layers={count}"


def _missing_data(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    return {"data_path": str(place / "no-rows.jsonl")}, "no-rows.jsonl"


def _empty_data(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    (place / "empty.jsonl").touch()
    return {"data_path": str(place / "empty.jsonl")}, "empty.jsonl"


def _bad_row(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    good = toy.rows.read_text(encoding="utf-8").splitlines()[:2]
    write_rows(place / "bad.jsonl", [*map(json.loads, good), {"messages": [{"role": "user"}]}])
    return {"data_path": str(place / "bad.jsonl")}, "bad.jsonl:3"


def _another_run(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    (place / "out").mkdir()
    (place / "out" / "run.json").write_text("{}", encoding="utf-8")
    return {}, "holds another run"


def _a_frameworks_run(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    (place / "out" / "hf_format").mkdir(parents=True)
    return {"overwrite_output_dir": True}, "hf_format"


def _the_model_itself(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    return {"ckpt_output_dir": str(toy.model)}, "the model itself"


def _wrong_value(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    return {"learning_rate": -1.0}, "learning_rate"


def _unknown_keyword(place: Path, toy: Toy) -> tuple[Mapping[str, Any], str]:
    return {"no_such_argument_anywhere": 1}, "no_such_argument_anywhere"


MISTAKES: Mapping[str, Mistake] = {
    "missing-model": _missing_model,
    "model-without-weights": _model_without_weights,
    "config-of-another-model": _config_of_another_model,
    "missing-data": _missing_data,
    "empty-data": _empty_data,
    "bad-row": _bad_row,
    "another-run": _another_run,
    "a-frameworks-run": _a_frameworks_run,
    "the-model-itself": _the_model_itself,
    "wrong-value": _wrong_value,
    "unknown-keyword": _unknown_keyword,
}


class BadInput(Subject):
    """Checks of requests that cannot hold."""

    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_a_mistake_is_named_and_leaves_nothing(
        self, translates: None, runs: Runs, toy: Toy, tmp_path: Path, mistake: str
    ) -> None:
        algorithm = first_trainable(type(self))
        differing, named = MISTAKES[mistake](tmp_path, replace(toy, rows=runs.rows_of(algorithm)))
        asked = runs.asked(algorithm, {"ckpt_output_dir": str(tmp_path / "out")}, {}, mistake) | dict(differing)
        _refused(runs, algorithm, asked, named, tmp_path, toy.model.parent)

    def test_weights_that_are_missing_are_not_drawn_at_random(
        self, translates: None, runs: Runs, toy: Toy, tmp_path: Path
    ) -> None:
        """A tensor less in the model's file, which transformers would fill at random, and only log."""
        from safetensors.torch import load_file, save_file

        algorithm, lost = first_trainable(type(self)), "model.layers.1.self_attn.v_proj.weight"
        model = shutil.copytree(toy.model, tmp_path / "model")
        weights = load_file(model / "model.safetensors")
        kept = {name: tensor for name, tensor in weights.items() if name != lost}
        save_file(kept, model / "model.safetensors", metadata={"format": "pt"})
        differing = {"model_path": str(model), "ckpt_output_dir": str(tmp_path / "out")}
        _refused(runs, algorithm, runs.asked(algorithm, differing, {}, "lost"), lost, tmp_path)

    @pytest.mark.parametrize("late", ["unsayable", UNKNOWN])
    def test_a_row_that_shows_itself_late_leaves_an_earlier_run(
        self, translates: None, runs: Runs, toy: Toy, tmp_path: Path, late: str
    ) -> None:
        """What only shows when rows are turned into tokens.

        The template refuses a word, or the tokenizer has a token that the model has no embedding for.
        """
        algorithm = first_trainable(type(self), of=LEARN_ROWS)
        model = shutil.copytree(toy.model, tmp_path / "model")
        template = model / "chat_template.jinja"
        template.write_text(_REFUSES + template.read_text(encoding="utf-8"), encoding="utf-8")
        _with_a_token_more(model)
        [first, second] = conversations(2)
        said = [turn | {"content": f"{late} {turn['content']}"} for turn in second["messages"]]
        write_rows(tmp_path / "late.jsonl", [first, second | {"messages": said}])
        earlier = tmp_path / "out"
        (earlier / "final").mkdir(parents=True)
        (earlier / "run.json").write_text(json.dumps({"state": "completed"}), encoding="utf-8")
        (earlier / "final" / "config.json").write_text("{}", encoding="utf-8")
        differing = {"model_path": str(model), "data_path": str(tmp_path / "late.jsonl"), "overwrite_output_dir": True}
        asked = runs.asked(algorithm, {"ckpt_output_dir": str(earlier), **differing}, {}, "late")
        # Processed rows are data of their own, and no part of a run.
        _refused(runs, algorithm, asked, "late.jsonl:2", tmp_path, but=earlier / "data")


def _with_a_token_more(model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens([UNKNOWN])
    tokenizer.save_pretrained(model)


def _refused(
    runs: Runs, algorithm: str, asked: Mapping[str, Any], named: str, *places: Path, but: Path | None = None
) -> None:
    before = left_in(*places)
    try:
        runs.train(algorithm, asked)
    except UserError as error:
        assert named in str(error), f"the error does not say {named!r}: {error}"
    except Exception as error:
        pytest.fail(f"expected a UserError that says {named!r}; got {type(error).__name__}: {error}")
    else:
        pytest.fail(f"it trained; expected a UserError that says {named!r}")
    after = left_in(*places)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    changed = [path for path in changed if but is None or not Path(path).is_relative_to(but)]
    assert not changed, f"it was refused, and left or changed {changed}"
