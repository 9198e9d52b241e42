"""What `training-hub new-plugin` writes builds, installs, is listed, and passes its own tests, at once.

Needs torch and transformers: run where a plugin with them is installed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

COMMAND = Path(sysconfig.get_path("scripts")) / "training-hub"


class Installed:
    """A package that was written, built, and laid out as an installer would."""

    def __init__(self, name, options, place):
        subprocess.run([COMMAND, "new-plugin", name, *options, "--output-dir", place], check=True, capture_output=True)
        self.source = place / f"training-hub-{name}"
        build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", place / "dist", self.source]
        subprocess.run([sys.executable, *build], check=True, capture_output=True)
        [wheel] = (place / "dist").glob("*.whl")
        self.site = place / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)

    def run(self, *command):
        path = os.pathsep.join([str(self.site), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.run(
            [*map(str, command)], capture_output=True, text=True, check=False, cwd=self.source, env=environment
        )


@pytest.fixture(scope="module", params=[("fresh", []), ("fresh-scores", ["--algorithm"])], ids=["backend", "algorithm"])
def made(request, tmp_path_factory):
    name, options = request.param
    return Installed(name, options, tmp_path_factory.mktemp(name))


def test_it_is_listed(made):
    listed = {entry["name"]: entry for entry in json.loads(made.run(COMMAND, "backends", "--json").stdout)}
    name = made.source.name.removeprefix("training-hub-")
    entry = listed[name]
    assert (entry["state"], entry["package"], entry["version"]) == ("available", made.source.name, "0.1.0")
    assert entry["algorithms"] == (["sft", "fresh_scores"] if name == "fresh-scores" else ["sft"])


@pytest.mark.slow
def test_its_own_tests_pass(made):
    if made.source.name == "training-hub-fresh":
        pytest.skip("the one with an algorithm has the same backend, and more")
    ended = made.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    skipped = set(re.findall(r"^SKIPPED \[\d+\] [^:]+:\d+: (.*)$", ended.stdout, re.MULTILINE))
    # One process trains, and the kit cannot measure what an algorithm of its own learns.
    assert all(re.search("process|nproc_per_node|measure", why) for why in skipped), skipped


def test_what_the_contract_does_not_look_at_works(made, tmp_path):
    """Validation, its best checkpoint, checkpoints by rows, a further keyword."""
    code = f"""
from pathlib import Path
from training_hub import sft
from training_hub.plugin import read_events
from training_hub.testing.toy import conversations, make_model, write_rows
place = Path({str(tmp_path)!r})
make_model(place / "model")
write_rows(place / "rows.jsonl", conversations(20))
sft(place / "model", place / "rows.jsonl", place / "out", backend={made.source.name.removeprefix("training-hub-")!r},
    num_epochs=2, effective_batch_size=4, learning_rate=1e-3, validation_split=0.2, validation_frequency=3,
    save_best_val_loss=True, save_samples=16, amsgrad=True, label_smoothing=0.1, max_tokens_per_gpu=300, max_seq_len=300)
for event in read_events(place / "out" / "events.jsonl"):
    print(event["event"], event.get("step"))
"""
    ended = made.run(sys.executable, "-c", code)
    assert ended.returncode == 0, ended.stderr
    told = [line for line in ended.stdout.splitlines() if line.partition(" ")[0] in ("eval", "save", "warning")]
    assert told == ["eval 3", "save 3", "save 4", "eval 6", "save 6", "save 8", "save 8"]
    kept = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir() and path.name != "logs")
    assert kept == ["checkpoint-3", "checkpoint-4", "checkpoint-6", "checkpoint-8", "final", "hf_format"]
