"""Whether the backend can run here is told at once, and honestly."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from training_hub import create_algorithm, osft
from training_hub.backends import installation, torchrun
from training_hub.plugin import BackendUnavailableError, Devices
from training_hub_minitrainer import backend
from training_hub_minitrainer.backend import MiniTrainerOSFTBackend

GPU = Devices("cuda", 2, ("NVIDIA H100", "NVIDIA H100"), True)
CPU = Devices("cpu", 2)


def availability(monkeypatch: pytest.MonkeyPatch, here: Devices) -> tuple[bool, str]:
    monkeypatch.setattr(torchrun, "devices", lambda: here)
    found = MiniTrainerOSFTBackend().availability()
    return found.available, found.reason


def metadata_of(directory: Path, name: str, version: str) -> None:
    """Make a directory that looks as if a distribution were installed in it."""
    found = directory / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    found.parent.mkdir()
    found.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_without_a_gpu_the_reason_names_what_there_is_and_what_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    available, reason = availability(monkeypatch, CPU)
    assert not available
    assert "needs an NVIDIA GPU, and there is 2 CPU cores" in reason
    assert "trl" in reason


@pytest.mark.parametrize("version", ["0.8.1", "0.10.0", "1.0.0"])
def test_another_version_is_refused_and_both_are_named(
    monkeypatch: pytest.MonkeyPatch, version: str, tmp_path: Path
) -> None:
    metadata_of(tmp_path, "rhai-innovation-mini-trainer", version)
    monkeypatch.syspath_prepend(tmp_path)
    available, reason = availability(monkeypatch, GPU)
    assert not available
    assert f"rhai-innovation-mini-trainer {version} is installed" in reason
    assert "needs <0.10,>=0.9: pip install training-hub-minitrainer" in reason


def test_missing_flash_attention_is_said_before_the_framework_stumbles_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESTING", raising=False)
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    available, reason = availability(monkeypatch, GPU)
    assert not available
    assert "flash-attn is missing: pip install" in reason
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    assert availability(monkeypatch, GPU) == (True, "on 2 x NVIDIA H100")


def test_a_framework_that_is_not_installed_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        if name == "rhai-innovation-mini-trainer":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(installation, "version", nothing)
    found = MiniTrainerOSFTBackend().availability()
    assert not found.available
    assert found.reason == "rhai-innovation-mini-trainer is missing: pip install training-hub-minitrainer"


def test_named_here_it_is_refused_and_never_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchrun, "devices", lambda: CPU)
    with pytest.raises(BackendUnavailableError, match="needs an NVIDIA GPU"):
        osft(model_path="m", data_path="d", ckpt_output_dir="o", unfreeze_rank_ratio=0.5, backend="mini-trainer")
    with pytest.raises(BackendUnavailableError, match="needs an NVIDIA GPU"):
        create_algorithm("sft", backend_name="mini-trainer")


def test_neither_availability_nor_translation_imports_torch_or_the_framework() -> None:
    code = """
import sys
from training_hub import AlgorithmRegistry
from training_hub.plugins import discovery
backend = discovery.load("mini-trainer").backends["mini-trainer"]()
backend.availability()
backend.name = "mini-trainer"
given = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o", "unfreeze_rank_ratio": 0.5}
backend.translate(AlgorithmRegistry.get_algorithm("osft").resolve(given))
print(sorted({"torch", "transformers", "datasets", "mini_trainer"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
