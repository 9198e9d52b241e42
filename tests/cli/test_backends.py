"""`training-hub backends`, `schema` and `demo`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import training_hub.plugins.discovery
from training_hub import Availability
from training_hub.algorithms.sft import SFTAlgorithm
from training_hub.cli import main
from training_hub.errors import PluginError
from training_hub.plugins.discovery import LoadedPlugin, Plugin


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert main(["backends", "--json"]) == 0
    return {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace what is installed by plugins made up here."""

    def install(*loaded: LoadedPlugin, broken: dict[str, PluginError] | None = None) -> None:
        found = {entry.plugin.name: entry.plugin for entry in loaded}
        found |= {name: Plugin(name, f"pkg-{name}", "1.0", ()) for name in broken or {}}
        monkeypatch.setattr(training_hub.plugins.discovery, "installed", lambda: found)
        monkeypatch.setattr(
            training_hub.plugins.discovery, "loadable", lambda: ({p.plugin.name: p for p in loaded}, broken or {})
        )
        monkeypatch.setattr(
            training_hub.plugins.discovery, "load", lambda name: {p.plugin.name: p for p in loaded}[name]
        )

    return install


def plugin(name: str, **parts: Any) -> LoadedPlugin:
    return LoadedPlugin(
        Plugin(name, f"pkg-{name}", "1.2", ()), **({"backends": {}, "algorithms": {}, "demo": None} | parts)
    )


def test_what_is_missing_is_listed_with_its_command(capsys: pytest.CaptureFixture[str], plugins: Any) -> None:
    plugins()
    assert main(["backends"]) == 0
    assert 'not installed: pip install "training-hub[trl]"' in capsys.readouterr().out
    entry = listed(capsys)["unsloth"]
    assert (entry["state"], entry["install"]) == ("not installed", 'pip install "training-hub[unsloth]"')


def test_what_is_here_is_listed_with_versions(
    translating: Any, plugins: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins(plugin("trl", backends={"trl": translating}))
    entry = listed(capsys)["trl"]
    assert (entry["package"], entry["version"], entry["framework"]) == ("pkg-trl", "1.2", "pytest")
    assert entry["framework_version"] == pytest.__version__
    assert entry["state"] == "available"
    assert set(entry["algorithms"]) == {"sft", "osft", "lora_sft"}
    monkeypatch.setattr(translating, "available", Availability(False, "torch is missing"))
    assert main(["backends"]) == 0
    assert "unavailable: torch is missing" in capsys.readouterr().out


def test_broken_plugins_are_listed_with_the_reason(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plugins(broken={"trl": PluginError("plugin 'trl' fails on import: ImportError: no")})
    entry = listed(capsys)["trl"]
    assert (entry["state"], entry["package"]) == ("broken", "pkg-trl")
    assert "fails on import" in entry["reason"]
    assert main(["backends"]) == 0
    assert "fails on import" in capsys.readouterr().out


def test_a_plugin_of_algorithms_only_is_listed(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plugins(plugin("extra", algorithms={"dpo": SFTAlgorithm}))
    assert listed(capsys)["extra"]["algorithms"] == ["dpo"]


@pytest.mark.parametrize("error", [OSError, SystemExit])
def test_a_check_that_fails_stops_nothing(
    translating: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(self: Any) -> Availability:
        raise error("no driver")

    monkeypatch.setattr(translating, "availability", fail)
    entry = listed(capsys)["translating"]
    assert (entry["state"], entry["reason"]) == ("unavailable", f"its check fails: {error.__name__}: no driver")


def test_the_demo_of_a_plugin_is_run(plugins: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def show(*, output_dir: Path, say: Any) -> None:
        say(f"in {output_dir}")

    plugins(plugin("a"), plugin("b", demo=show))
    assert main(["demo", "--output-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"in {tmp_path}\n"


def test_a_demo_is_not_written_over_a_file(plugins: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugins(plugin("a", demo=lambda **_: pytest.fail("it was started")))
    (tmp_path / "rows.jsonl").write_text("mine")
    for place in (tmp_path / "rows.jsonl", tmp_path / "rows.jsonl" / "demo"):
        assert main(["demo", "--output-dir", str(place)]) == 2
        assert f"error: --output-dir={place}: {tmp_path / 'rows.jsonl'} is a file" in capsys.readouterr().err


def test_without_a_demo_the_command_that_installs_one_is_said(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plugins(plugin("a"), broken={"b": PluginError("plugin 'b' is switched off")})
    assert main(["demo"]) == 2
    said = capsys.readouterr().err
    assert 'pip install "training-hub[trl]"' in said
    assert "plugin 'b' is switched off" in said


@pytest.fixture(scope="module", params=["sft", "osft", "lora_sft"])
def validator(request: pytest.FixtureRequest) -> Any:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["schema", request.param]) == 0
    schema = json.loads(out.getvalue())
    Draft202012Validator.check_schema(schema)
    return request.param, Draft202012Validator(schema), schema


def test_the_schema_accepts_good_files(validator: Any) -> None:
    algorithm, check, _ = validator
    good = {
        "algorithm": algorithm,
        "model_path": "m",
        "learning_rate": 2e-5,
        "num_epochs": 3,
        "nproc_per_node": "gpu",
        "lr_scheduler": "cosine_with_restarts",
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "rdzv_id": 3,
        "use_liger": False,
        "own_argument_of_the_backend": [1],
    }
    assert not list(check.iter_errors(good))
    assert not list(check.iter_errors({}))


@pytest.mark.parametrize(
    "bad",
    [
        {"learning_rate": 0},
        {"learning_rate": "fast"},
        {"num_epochs": 1.5},
        {"num_epochs": 0},
        {"lr_scheduler": "cosin"},
        {"nproc_per_node": 0},
        {"nproc_per_node": "all"},
        {"use_liger": "maybe"},
        {"model_path": ""},
        {"seed": 2**32},
        {"algorithm": "another"},
        ["a list"],
    ],
)
def test_the_schema_refuses_bad_files(bad: Any, validator: Any) -> None:
    assert list(validator[1].iter_errors(bad))


def test_the_schema_describes_every_parameter(validator: Any) -> None:
    for name, entry in validator[2]["properties"].items():
        assert entry["description"], name
        assert "title" not in entry, name
    assert validator[2]["properties"]["num_epochs"]["default"] == 3
    assert "default" not in validator[2]["properties"]["model_path"]
    assert "callbacks" not in validator[2]["properties"]


def test_the_schema_refuses_misspelt_keys_of_a_mapping(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "sft"]) == 0
    check = Draft202012Validator(json.loads(capsys.readouterr().out))
    assert not list(check.iter_errors({"fsdp_options": {"sharding_strategy": "FULL_SHARD"}}))
    assert list(check.iter_errors({"fsdp_options": {"shardng_strategy": "FULL_SHARD"}}))


def test_the_schema_of_an_unknown_algorithm_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "sftt"]) == 2
    assert "did you mean 'sft'?" in capsys.readouterr().err
