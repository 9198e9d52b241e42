"""Going on with a run from the command line: what ran is asked for again."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training_hub.cli.given import Given, given
from training_hub.errors import ParameterError, ResumeError
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.store.checkpoints import SEAL
from training_hub.store.manifest import Manifest, read_manifest
from training_hub.store.redaction import was_masked

logger = logging.getLogger("training_hub")

_OWN = ("ckpt_output_dir", "resume", "resume_changes", "overwrite_output_dir")
"""What follows from the directory alone."""


def resumed(directory: Path, changes: Sequence[str] = (), allowed: Sequence[str] = ()) -> Given:
    """The request that goes on with a run, in its directory and from the directory in which it was called.

    Args:
        directory: Of a run, whose newest complete checkpoint counts, or of one of its checkpoints.
        changes: What is to be another way, as `name=value`; naming it allows the difference.
        allowed: What else may differ from what ran, by name.

    Raises:
        ResumeError: There is no run.
        RunFormatError: What ran cannot be read.
        ParameterError: A change cannot be read, or is not one of a run that goes on.
    """
    directory = directory.absolute()
    at_checkpoint = (directory / SEAL).exists()
    run = directory.parent if at_checkpoint else directory
    manifest = read_manifest(run / "run.json")
    if manifest is None:
        raise ResumeError(
            f"{directory}: there is no run here, for it holds no run.json; give the directory of a run, or of one of "
            f"its checkpoints"
        )
    algorithm = str(manifest.text("algorithm"))
    asked = given(algorithm, AlgorithmRegistry.parameters(algorithm), {}, changes)
    if unfit := [name for name in asked.values if name in _OWN]:
        raise ParameterError(f"{unfit[0]}: it follows from the directory that is resumed; leave it out")
    if "callbacks" in manifest.given:
        logger.warning("its callbacks were objects of the program that started it, and are not called")
    # Paths were given as seen from there.
    if (place := manifest.text("directory")) and Path(place).is_dir():
        os.chdir(place)
    values = _values(manifest) | dict(asked.values)
    if masked := [name for name, value in values.items() if was_masked(value)]:
        raise ParameterError(
            f"{masked[0]}: the password in it was not kept with the run; give it again: --set {masked[0]}=..."
        )
    differs = [*asked.values, *(["backend"] if asked.backend else []), *allowed]
    values |= {
        "ckpt_output_dir": str(run),
        "resume": str(directory) if at_checkpoint else True,
        "resume_changes": differs or None,
    }
    return Given(algorithm, asked.backend or manifest.text("backend"), values)


def _values(manifest: Manifest) -> dict[str, Any]:
    """What somebody chose, without what a scheduler's variables said, which say it again."""
    return {
        name: value
        for name, value in manifest.given.items()
        if name not in (*_OWN, "backend", "callbacks") and not manifest.origin(name).startswith("environment")
    }
