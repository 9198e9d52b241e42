"""Gives checkpoints that mini-trainer wrote the names and the contents that the hub promises."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig

from training_hub.store.checkpoints import SEAL, make_room, newest, place, seal
from training_hub.store.directory import RunDirectory, write_json
from training_hub_minitrainer.layout import STATES

_CHANGED = ("use_cache", "bos_token_id", "eos_token_id")
"""What the framework writes over in the configuration. A missing padding token, which it fills in, may stay."""


class Checkpoints:
    """The checkpoints of a run, as they come. Used by the main process alone."""

    def __init__(
        self,
        directory: RunDirectory,
        base: str,
        *,
        keep_last_only: bool,
        trust_remote_code: bool,
        best_step: int | None = None,
    ) -> None:
        """Args:
        directory: The run's.
        base: The model that is trained.
        keep_last_only: Whether older ones are deleted.
        trust_remote_code: Whether the base may bring code.
        best_step: Of a run that is resumed: whose checkpoint has the lowest validation loss so far.
        """
        self.directory = directory
        self.keep_last_only = keep_last_only
        self.best_step = best_step
        self._config = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code)
        try:
            self._generation: GenerationConfig | None = GenerationConfig.from_pretrained(base)
        except OSError:
            self._generation = None

    def take(self, written: Path, step: int, *, best: bool, again: bool) -> None:
        """Move weights to their place, on the same file system. They do not count before `complete`.

        Args:
            written: Where the framework wrote them.
            step: Optimizer steps done.
            best: Whether they have the lowest validation loss so far.
            again: Whether the weights of this step are there already, saved for another reason.
        """
        if best:
            self.best_step = step
        if again:
            shutil.rmtree(written)
            return
        self._mend(written)
        target = place(self.directory.path, step)
        # Left by the run that is resumed, which had gone further.
        if target.exists():
            (target / SEAL).unlink(missing_ok=True)
            shutil.rmtree(target)
        written.rename(target)

    def complete(self, step: int, *, resumable: bool, **facts: Any) -> Path:
        """Declare a checkpoint complete: all that belongs to it is in its place. Then make room."""
        target = place(self.directory.path, step)
        seal(target, step, resumable=resumable, best_step=self.best_step, **facts)
        if self.keep_last_only:
            spared = {step} if self.best_step is None else {step, self.best_step}
            make_room(self.directory.path, 1, spared)
        return target

    def take_final(self, written: Path) -> None:
        """Move the model as it is at the end of training to its place."""
        self._mend(written)
        written.rename(self.directory.final)

    def link_final(self, last: Path) -> None:
        """Give the checkpoint of the last step a second place, as the final one."""
        final = self.directory.final
        partial = final.with_name(".final")
        shutil.rmtree(partial, ignore_errors=True)
        ignored = shutil.ignore_patterns(STATES, SEAL)
        shutil.copytree(last, partial, ignore=ignored, copy_function=_same)
        partial.rename(final)

    def last(self) -> Path | None:
        """The newest checkpoint of the run."""
        found = newest(self.directory.path)
        return found.path if found else None

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
