"""docs/dpo.md: its example runs, and its forms of rows are those that are taken."""

import json
import re
import shutil
from pathlib import Path

from training_hub.data.formats import DatasetOptions
from training_hub.plugins import discovery

PAGE = (Path(__file__).parents[4] / "docs" / "dpo.md").read_text(encoding="utf-8")


def test_the_example_runs(model, pairs, tmp_path, monkeypatch, capsys):
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shutil.copytree(model, tmp_path / "model")
    shutil.copy(pairs, tmp_path / "pairs.jsonl")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/dpo.md", "exec"), {})
    assert re.search(r"out_dpo/final \d\.\d+", capsys.readouterr().out)
    assert (tmp_path / "out_dpo" / "final" / "adapter_model.safetensors").exists()


def test_every_form_of_rows_that_it_shows_is_taken():
    table = PAGE.partition("| form | a row |")[2].partition("\n\n")[0]
    rows = [json.loads(row) for row in re.findall(r"`(\{.*?\})`", table)]
    assert len(rows) == 7
    formats = discovery.formats_of("dpo", ("preference",))
    for row in rows:
        formats.of(row, DatasetOptions()).convert(row, DatasetOptions())
