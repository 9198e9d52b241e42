"""What becomes of rows as people write them, from the call to what is trained."""

import json
import shutil

import pyarrow
import pyarrow.parquet
import pytest

from training_hub import sft
from training_hub.plugin import DatasetError
from training_hub.testing.toy import conversations

CALLS = """{% for m in messages %}<|{{ m.role }}|>
{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}\
<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}{% if tools %}{{ tools | tojson }}{% endif %}"""


@pytest.fixture
def calling_model(model, tmp_path):
    """The toy with a template that writes calls and tools."""
    copy = tmp_path / "calling"
    shutil.copytree(model, copy)
    (copy / "chat_template.jinja").write_text(CALLS)
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    return copy


def question(text):
    return {"role": "user", "content": text}


def call(name, **arguments):
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


def tool(name, **properties):
    return {"type": "function", "function": {"name": name, "parameters": {"properties": properties}}}


ROWS = [
    {
        "messages": [question("weather"), call("weather", city="a", days=2)],
        "tools": [tool("weather", city={"type": "string"})],
    },
    {"messages": [question("price"), call("price", symbol="b")], "tools": [tool("price", symbol={"type": "string"})]},
    {"messages": [question("time"), call("time")], "tools": [tool("time")]},
]


def test_parquet_trains_what_the_same_rows_train_as_json(calling_model, job, losses, tmp_path):
    lines, columns = tmp_path / "rows.jsonl", tmp_path / "rows.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    # Arrow can have no objects without keys.
    table = pyarrow.Table.from_pylist(ROWS)
    pyarrow.parquet.write_table(table, columns)
    assert table.to_pylist()[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]["symbol"] is None
    found = []
    for path in (lines, columns):
        out = tmp_path / path.suffix[1:]
        sft(**{**job, "model_path": calling_model, "data_path": path, "ckpt_output_dir": out})
        found.append(losses(out))
    assert found[0] == found[1]


def test_each_row_that_the_template_refuses_is_told_before_a_weight_is_loaded(calling_model, job, events, tmp_path):
    thought = {"role": "assistant", "content": "yes", "reasoning_content": "because"}
    rows = [*conversations(300), {"messages": [question("a"), thought]}, *conversations(2)]
    rows.append({"messages": [question("b"), thought]})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for file in calling_model.glob("*.safetensors"):
        # A header alone passes the checks of the request, and cannot be loaded.
        content = bytearray(file.read_bytes())
        length = int.from_bytes(content[:8], "little")
        content[8 : 8 + length] = content[8 : 8 + length].replace(b'"F32"', b'"X32"')
        file.write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        sft(**{**job, "model_path": calling_model, "data_path": path})
    assert f"2 of the {len(rows)} rows of {path} cannot be trained on" in str(raised.value)
    assert f"{path}:301, 304: the chat template leaves out the reasoning of message 2" in str(raised.value)
    assert events(job["ckpt_output_dir"], "start") == []


def test_answers_that_a_row_says_are_not_learnt_are_context(model, job, losses, tmp_path):
    kept = [row["messages"] for row in conversations(20)]
    wrong = {"role": "assistant", "content": "no no no"}
    learnt = [{"messages": [question("x"), {**wrong, "weight": 0}, *messages]} for messages in kept]
    other = [{"messages": [question("x"), {**wrong, "train": False}, *messages]} for messages in kept]
    found = []
    for name, rows in (
        ("weight", learnt),
        ("train", other),
        ("all", [json.loads(json.dumps(r).replace(', "weight": 0', "")) for r in learnt]),
    ):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        sft(**{**job, "data_path": path, "ckpt_output_dir": tmp_path / name, "num_epochs": 1})
        found.append(losses(tmp_path / name))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_keys_that_nothing_reads_are_told_once_by_name(model, job, events, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**row, "sytsem": "be short"}) + "\n" for row in conversations(8)))
    sft(**{**job, "data_path": path, "num_epochs": 1})
    [told] = [event["message"] for event in events(job["ckpt_output_dir"], "warning")]
    assert told == f"data_path={path}: nothing reads the keys 'sytsem' of its rows; they are not trained"
