"""What can be checked before a weight is loaded is checked, and nothing is written."""

import json
import os

import pytest

from training_hub import LoRASFTAlgorithm, OSFTAlgorithm, SFTAlgorithm, TrainingHubError
from training_hub.errors import (
    DatasetError,
    DatasetNotFoundError,
    ModelError,
    ModelNotFoundError,
    OutputDirectoryError,
    ParameterError,
    UserError,
)
from training_hub.preflight.request import check_request
from training_hub.store.directory import RunDirectory


@pytest.fixture
def check(model, rows, tmp_path):
    def checked(algorithm=SFTAlgorithm, **values):
        given = {"model_path": model, "data_path": rows, "ckpt_output_dir": tmp_path / "out", **values}
        return check_request(algorithm.resolve(given))

    return checked


def test_a_request_that_holds_is_summarised_and_writes_nothing(check, tmp_path):
    request = check()
    assert (request.data.rows, request.data.format, request.model.weight_bytes) == (1, "messages", 1000)
    assert not (tmp_path / "out").exists()


def test_a_model_path_that_is_not_there(check, tmp_path):
    with pytest.raises(ModelNotFoundError, match="no such directory") as raised:
        check(model_path=tmp_path / "nope")
    assert isinstance(raised.value, FileNotFoundError) and isinstance(raised.value, TrainingHubError)


def test_an_empty_model_directory(check, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match="is empty"):
        check(model_path=tmp_path / "empty")


def test_a_model_path_that_is_a_file(check, rows):
    with pytest.raises(ModelError, match="it is a file"):
        check(model_path=rows)


@pytest.mark.parametrize(
    ("missing", "said"),
    [("config.json", "no config.json"), ("tokenizer.json", "no tokenizer"), ("model.safetensors", "no .*safetensors")],
)
def test_a_model_that_lacks_a_part(check, model, missing, said):
    (model / missing).unlink()
    with pytest.raises(ModelError, match=said):
        check()


def test_pickled_weights_are_refused(check, model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(ModelError, match="is a pickle, which can run code"):
        check()


def test_a_missing_shard_is_named(check, model):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="1 of 2 weight files .* first model-1.safetensors"):
        check()


def test_a_config_that_is_no_json(check, model):
    (model / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json: this is no JSON"):
        check()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_file_of_the_tokenizer_that_is_no_json(check, model, name):
    (model / name).write_text('{"a": ')
    with pytest.raises(ModelError, match=rf"{name}: this is no JSON"):
        check()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda whole: whole[:500], "it was cut off: 500 bytes of 1000 are there"),
        (lambda whole: whole[:50], "no safetensors file, or one that was cut off"),
        (lambda whole: whole[:5], "no safetensors file, or one that was cut off"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1", "no safetensors file, or one that was cut off"),
        (lambda whole: whole[:8] + b"x" * 992, "the header of this safetensors file is broken"),
        (lambda whole: whole[:8] + b"[1]".ljust(992), "the header of this safetensors file is broken"),
    ],
)
def test_weights_that_are_broken_are_found_by_their_header(check, model, content, said):
    weights = model / "model.safetensors"
    weights.write_bytes(content(weights.read_bytes()))
    with pytest.raises(ModelError, match=f"{weights}: .*{said}.*; copy the model again"):
        check()


def test_an_index_of_weights_that_names_none(check, model):
    (model / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with pytest.raises(ModelError, match=r"index\.json: there is no mapping weight_map"):
        check()


def test_a_model_and_rows_below_home_are_found(check, model, rows, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    request = check(model_path=f"~/{model.name}", data_path=f"~/{rows.name}", ckpt_output_dir="~/out")
    assert (request.model.path, request.data.path) == (str(model), str(rows))
    assert request.directory.path == model.parent / "out"


def test_conversations_need_a_chat_template(check, model):
    (model / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template.*chat_template.jinja"):
        check()
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert check().model.chat_template


def test_rows_with_tools_need_a_template_that_writes_them(check, model, rows):
    row = json.loads(rows.read_text()) | {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
    rows.write_text(rows.read_text() + json.dumps(row) + "\n")
    with pytest.raises(DatasetError, match=r"rows.jsonl:2: this row and 0 others of 2 offer or call tools"):
        check()
    (model / "chat_template.jinja").write_text("{{ messages }}{{ tools }}")
    assert check().data.with_tools == 1


def test_a_hub_id_is_left_to_the_backend_unless_the_hub_is_switched_off(check, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert not check(model_path="organisation/model").model.local
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE"):
        check(model_path="organisation/model")
    (tmp_path / "hf" / "hub" / "models--organisation--model").mkdir(parents=True)
    assert not check(model_path="organisation/model").model.local


def test_a_dataset_that_is_not_there_or_empty(check, rows):
    with pytest.raises(DatasetNotFoundError):
        check(data_path="nope.jsonl")
    rows.write_text("")
    with pytest.raises(DatasetNotFoundError):
        check()


def test_bad_rows_are_named_with_file_and_line(check, rows):
    rows.write_text(rows.read_text() + '{"messages": [{"role": "bot", "content": "x"}]}\n{\n')
    with pytest.raises(DatasetError) as raised:
        check()
    assert f"{rows}:2" in str(raised.value) and f"{rows}:3" in str(raised.value)


def test_rows_that_cannot_be_used_are_those_of_the_parameter_that_names_them(check, rows, tmp_path):
    (tmp_path / "rows.csv").write_text("a,b")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bad.jsonl").write_text("{\n")
    for wrong in ("nope.jsonl", ".", "rows.csv", "empty.jsonl", "bad.jsonl"):
        with pytest.raises(UserError) as raised:
            check(LoRASFTAlgorithm, eval_data_path=tmp_path / wrong)
        assert str(raised.value).startswith("eval_data_path: ")
        with pytest.raises(UserError) as raised:
            check(LoRASFTAlgorithm, data_path=tmp_path / wrong, eval_data_path=rows)
        assert str(raised.value).startswith("data_path: ")
        assert isinstance(raised.value, FileNotFoundError if wrong in ("nope.jsonl", "empty.jsonl") else DatasetError)


def test_a_field_that_the_rows_do_not_have_is_named_with_its_parameter(check, rows):
    with pytest.raises(DatasetError, match="no key 'nope', which field_messages names; its keys are 'messages'"):
        check(LoRASFTAlgorithm, field_messages="nope")
    with pytest.raises(DatasetError, match="'nope' is missing, which field_messages names"):
        check(LoRASFTAlgorithm, field_messages="nope", dataset_type="messages")
    rows.write_text('{"question": "a", "answer": "b"}')
    with pytest.raises(DatasetError, match="no key 'nope', which field_instruction names; its keys are 'question'"):
        check(LoRASFTAlgorithm, field_instruction="nope")
    with pytest.raises(DatasetError, match="'nope' is missing, which field_output names"):
        check(LoRASFTAlgorithm, field_instruction="question", field_output="nope")


@pytest.mark.parametrize("config", [{"vocab_size": 10}, {"text_config": {"vocab_size": 10}}])
def test_tokens_that_the_model_does_not_know_are_bad_rows(check, model, rows, config):
    good = {"input_ids": [0, 9], "labels": [-100, 9]}
    bad = [{"input_ids": [0, 10], "labels": [-100, 9]}, {"input_ids": [0, 9], "labels": [-100, 10]}]
    rows.write_text("".join(json.dumps(row) + "\n" for row in (good, *bad)))
    processed = {"unfreeze_rank_ratio": 0.5, "use_processed_dataset": True}
    assert check(OSFTAlgorithm, **processed).data.rows == 3
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(DatasetError) as raised:
        check(OSFTAlgorithm, **processed)
    assert f"{rows}:2: 'input_ids' holds 10; expected tokens of the model, which are 0 to 9" in str(raised.value)
    assert f"{rows}:3: 'labels' holds 10; expected tokens of the model, which are 0 to 9, or -100" in str(raised.value)
    rows.write_text(json.dumps(good) + "\n")
    assert check(OSFTAlgorithm, **processed).data.rows == 1


def test_a_directory_for_processed_rows_that_cannot_be_written(check, rows):
    for place in (rows, rows / "data"):
        with pytest.raises(OutputDirectoryError, match=f"data_output_dir={place}: {rows} is a file, not a directory"):
            check(data_output_dir=place)
    check(data_output_dir=rows.parent / "new" / "data")
    if os.path.exists("/proc/self"):
        with pytest.raises(OutputDirectoryError, match="data_output_dir"):
            check(data_output_dir="/proc/self/data")


def test_an_output_directory_with_another_run_is_refused(check, tmp_path):
    for name in ("checkpoint-5", "final", "hf_format"):
        (tmp_path / "out" / name).mkdir(parents=True)
        with pytest.raises(OutputDirectoryError, match=f"another run.*{name}"):
            check()
        (tmp_path / "out" / name).rmdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    check()


def test_another_run_may_be_replaced_but_not_what_somebody_else_wrote(check, tmp_path):
    (tmp_path / "out" / "final").mkdir(parents=True)
    check(overwrite_output_dir=True)
    (tmp_path / "out" / "hf_format").mkdir()
    with pytest.raises(OutputDirectoryError, match="hf_format was not written by Training Hub"):
        check(overwrite_output_dir=True)


def test_the_model_is_never_written_over(check, model):
    with pytest.raises(OutputDirectoryError, match="the model itself"):
        check(ckpt_output_dir=model, overwrite_output_dir=True)


def test_an_output_directory_that_cannot_be_written(check, rows):
    with pytest.raises(OutputDirectoryError, match="is a file, not a directory"):
        check(ckpt_output_dir=rows / "out")
    if os.path.exists("/proc/self"):
        with pytest.raises(OutputDirectoryError), RunDirectory(type(rows)("/proc/self/out")).new_run():
            pass


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_seq_len": 1}, "max_seq_len=1 leaves nothing to predict"),
        ({"validation_split": 0.5}, "validation_split=0.5 of 1 row leaves nothing to train on"),
    ],
)
def test_what_leaves_nothing_to_learn_is_told(check, values, said):
    with pytest.raises(ParameterError, match=said):
        check(**values)


def _with_weights(model, names, config):
    listed = {name: {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]} for n, name in enumerate(names)}
    header = json.dumps(listed).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(len(names)))
    (model / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("names", "config", "said"),
    [
        (
            ["_orig_mod.a", "_orig_mod.b"],
            {},
            "compiled or wrapped, .*: _orig_mod.a, _orig_mod.b; save the model inside",
        ),
        (["model._fsdp_wrapped_module.a"], {}, "_fsdp_wrapped_module.a"),
        (["module.a", "module.b", "module.c", "module.d"], {}, "module.c and 1 more"),
        (["model.layers.0.a"], {"num_hidden_layers": 2}, "num_hidden_layers=2, and its files hold 1 .*model.layers.1 "),
        (
            ["language_model.model.layers.0.a"],
            {"text_config": {"num_hidden_layers": 3}},
            "language_model.model.layers.1, language_model.model.layers.2 are missing",
        ),
        (["h.0.a", "h.1.a"], {"n_layer": 1}, "n_layer=1, and its files hold 2 layers: h.1 would be lost"),
    ],
)
def test_names_of_weights_that_are_not_those_of_the_config(check, model, names, config, said):
    _with_weights(model, names, config)
    with pytest.raises(ModelError, match=said):
        check()


@pytest.mark.parametrize(
    ("names", "config"),
    [
        (["model.layers.0.a", "model.layers.1.a", "lm_head"], {"num_hidden_layers": 2}),
        (["model.layers.0.a", "model.layers.1.a", "model.layers.1.enorm"], {"num_hidden_layers": 1}),
        (["model.layers.0.a", "model.layers.1.a"], {"num_hidden_layers": 1, "num_nextn_predict_layers": 1}),
        (["model.layers.0.a"], {"num_hidden_layers": 2, "auto_map": {}}),
        (["vision_tower.encoder.layers.7.a", "model.layers.0.a"], {"text_config": {"num_hidden_layers": 1}}),
        (["module.a", "b"], {}),
    ],
)
def test_names_of_weights_that_are_those_of_the_config(check, model, names, config):
    _with_weights(model, names, config)
    check()


def test_too_little_disk_is_told_before_the_start(check, model):
    # A sparse file takes no space here, and says that a checkpoint of this model would.
    with (model / "model.safetensors").open("ab") as weights:
        weights.truncate(10**13)
    with pytest.raises(OutputDirectoryError, match="a checkpoint of this model takes 10 TB"):
        check()


def test_a_mistake_found_late_leaves_an_earlier_run_as_it_was(tmp_path):
    directory = RunDirectory(tmp_path / "out")
    with directory.new_run():
        (directory.path / "final").mkdir()
        (directory.path / "final" / "model").write_text("first")
    with pytest.raises(UserError), directory.new_run():
        (directory.path / "final").mkdir()
        raise UserError("a row that only the tokenizer could refuse")
    assert (directory.path / "final" / "model").read_text() == "first"
    fresh = RunDirectory(tmp_path / "fresh")
    with pytest.raises(UserError), fresh.new_run():
        raise UserError("likewise")
    assert not fresh.path.exists()


def test_a_run_that_has_started_replaces_the_earlier_one(tmp_path):
    directory = RunDirectory(tmp_path / "out")
    with directory.new_run():
        (directory.path / "final").mkdir()
    with pytest.raises(UserError), directory.new_run():
        directory.started()
        (directory.path / "checkpoint-3").mkdir()
        raise UserError("after the start")
    assert [path.name for path in directory.earlier_run()] == ["logs", "checkpoint-3"]


def test_checkpoints_that_do_not_find_room_together_are_told(check, monkeypatch):
    monkeypatch.setattr(RunDirectory, "free", lambda self: 2500)
    [warning] = check(num_epochs=3, checkpoint_at_epoch=True).warnings
    assert "has 2.5 kB free" in warning and "4 checkpoints of this model take 4 kB" in warning
    assert not check(num_epochs=3, checkpoint_at_epoch=True, keep_last_checkpoint_only=True).warnings
    assert not check(num_epochs=3).warnings
