"""Gives checkpoints that mini-trainer wrote the names and the contents that the hub promises."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig

from training_hub.runs.directory import RunDirectory, write_json

_CHANGED = ("use_cache", "bos_token_id", "eos_token_id")
"""What the framework writes over in the configuration. A missing padding token, which it fills in, may stay."""


class Checkpoints:
    """The checkpoints of a run, as they come. Used by the main process alone."""

    def __init__(self, directory: RunDirectory, base: str, *, keep_last_only: bool, trust_remote_code: bool) -> None:
        self.directory = directory
        self.keep_last_only = keep_last_only
        self.best: Path | None = None
        self._config = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code)
        try:
            self._generation: GenerationConfig | None = GenerationConfig.from_pretrained(base)
        except OSError:
            self._generation = None

    def take(self, written: Path, step: int, *, final: bool) -> Path:
        """Move a complete checkpoint to its place, on the same file system.

        Args:
            written: Where the framework wrote it.
            step: Optimizer steps done.
            final: Whether it is the one of the end of training.
        """
        self._mend(written)
        place = self.directory.final if final else self.directory.path / f"checkpoint-{step}"
        # The same weights twice: the step is a regular one and has the lowest validation loss.
        if place.exists():
            shutil.rmtree(written)
        else:
            written.rename(place)
        if "best_val_loss" in written.name:
            previous, self.best = self.best, place
            if self.keep_last_only and previous not in (None, place):
                shutil.rmtree(previous)
        if self.keep_last_only and not final:
            for older in self.directory.path.glob("checkpoint-*"):
                if older not in (place, self.best):
                    shutil.rmtree(older)
        return place

    def link_final(self, step: int) -> None:
        """Give the checkpoint of the last step a second place, as the final one."""
        final = self.directory.final
        partial = final.with_name(".final")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(self.directory.path / f"checkpoint-{step}", partial, copy_function=_same)
        partial.rename(final)

    def last(self) -> Path | None:
        """The newest checkpoint of the run."""
        found = self.directory.path.glob("checkpoint-*")
        return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    def _mend(self, checkpoint: Path) -> None:
        """Give back what the framework changed for training, or left out."""
        path = checkpoint / "config.json"
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        original = self._config.get_text_config()
        for part in (config, config.get("text_config", {})):
            part.update({name: getattr(original, name, part[name]) for name in _CHANGED if name in part})
        config["architectures"] = [name.removesuffix("WithOSFT") for name in config.get("architectures") or ()] or None
        write_json(path, config)
        if self._generation is not None:
            self._generation.save_pretrained(checkpoint)


def _same(source: str, target: str) -> None:
    """Weights are linked and take no room twice; the small files, which people edit, are copied."""
    if source.endswith(".safetensors"):
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # a file system without links
    shutil.copy2(source, target)
