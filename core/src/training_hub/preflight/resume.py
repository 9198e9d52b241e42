"""What a run goes on from, and whether what is asked now is what ran then."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_hub.errors import ResumeError
from training_hub.parameters.resolution import Parameters
from training_hub.store import serialization
from training_hub.store.checkpoints import Checkpoint, complete, newest
from training_hub.store.directory import RunDirectory
from training_hub.store.manifest import Manifest, read_manifest

FREE = frozenset(
    {
        "backend",
        "callbacks",
        "callback_errors",
        "ckpt_output_dir",
        "data_output_dir",
        "data_path",
        "eval_data_path",
        "grace_seconds",
        "hang_seconds",
        "model_path",
        "node_rank",
        "overwrite_output_dir",
        "rdzv_id",
        "rdzv_endpoint",
        "master_addr",
        "master_port",
        "resume",
        "resume_changes",
    }
)
"""Parameters that change no result, or whose content is compared instead of their name."""


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on."""

    checkpoint: Checkpoint
    manifest: Mapping[str, Any]
    """Of the run that saved it."""
    here: bool
    """Whether that run is the one in ckpt_output_dir, which goes on, rather than another one."""


def resumption(parameters: Parameters, directory: RunDirectory) -> Resumption | None:
    """What `resume` asks for; None where a run starts from the beginning.

    Raises:
        ResumeError: There is nothing to go on from.
        RunFormatError: What ran cannot be read.
    """
    asked = parameters["resume"]
    if asked is False:
        return None
    # Where the first node writes; a further one sees it on the disk that they share.
    main = RunDirectory(Path(parameters["ckpt_output_dir"]))
    run = main.path if asked is True else Path(asked)
    goes_on = bool(directory.earlier_run())
    if asked is True and main.nothing_to_lose():
        if goes_on and directory.path != main.path:
            raise ResumeError(
                f"resume=True: {main.path} holds no run, only that of this node ({directory.path}); all nodes go on "
                f"from the first one's checkpoint, so ckpt_output_dir must be on a disk that all of them see"
            )
        return None
    if (run / "run.json").exists():
        manifest = _manifest(run)
        found = newest(run, resumable=True)
        if manifest.get("state") == "completed":
            raise ResumeError(
                f"resume: the run in {run} has completed; its model is {manifest.get('checkpoint')}. To train on, "
                f"start a new run with model_path set to that"
            )
        if found is None and asked is True:
            return None
        if found is None:
            raise ResumeError(f"resume={asked}: that run has saved no complete checkpoint to go on from")
        return Resumption(found, manifest, goes_on and run.resolve() == main.path.resolve())
    if asked is True:
        raise ResumeError(
            f"resume=True: ckpt_output_dir={run} holds no run.json, so what ran there is not known; give another "
            f"directory"
        )
    if not run.is_dir():
        raise ResumeError(
            f"resume={asked}: there is no such directory; give that of a run, or of one of its checkpoints"
        )
    found = complete(run)
    if found is None or not found.resumable:
        what = "it is not a complete checkpoint" if found is None else "it holds weights alone, nothing to go on from"
        raise ResumeError(f"resume={asked}: {what}; give the directory of a run, or of a checkpoint that it completed")
    return Resumption(found, _manifest(run.parent), goes_on and run.parent.resolve() == main.path.resolve())


def _manifest(run: Path) -> Mapping[str, Any]:
    found = read_manifest(run / "run.json")
    if found is None:
        raise ResumeError(f"{run}: there is no run.json, so what ran there is not known; give the directory of a run")
    return found.content


def check_same(resumed: Resumption, now: Mapping[str, Any], allowed: list[str], free: Collection[str] = ()) -> None:
    """Refuse to go on with something else than what ran.

    Args:
        resumed: The run to go on with.
        now: The manifest that the new run would have.
        allowed: What may differ, by name.
        free: Parameters of the caller's alone, which change no result.

    Raises:
        ResumeError: Something else differs; every difference is listed.
    """
    then = resumed.manifest
    found = {name: change for name, change in _differences(then, now).items() if name not in (*allowed, *free)}
    if found:
        lines = "".join(f"\n  {name}: it was {before}, and is {after}" for name, (before, after) in found.items())
        names = ", ".join(repr(name) for name in found)
        raise ResumeError(
            f"resume: what is asked differs from what ran in {resumed.checkpoint.path.parent}:{lines}\n"
            f"ask for the same, or allow each difference by name: resume_changes=[{names}]"
        )


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    changed: dict[str, tuple[Any, Any]] = {}
    for name in ("backend", "algorithm"):
        if then.get(name) != now.get(name):
            changed[name] = then.get(name), now.get(name)
    old, new = (_values(manifest) for manifest in (then, now))
    for name in [*new, *(name for name in old if name not in new)]:
        # One that a newer release added, and that nobody has given, is as it was.
        added = name not in old and now["parameters"].get(name, {}).get("origin") == "default"
        if name not in FREE and not added and old.get(name) != new.get(name):
            changed[name] = old.get(name), new.get(name)
    for name, key in (("data", "sha256"), ("model", "fingerprint")):
        before, after = (manifest.get(name, {}).get(key) for manifest in (then, now))
        if before and after and before != after:
            changed[name] = before[:12], after[:12]
    versions = [manifest.get("versions", {}) for manifest in (then, now)]
    moved = {name for name in {*versions[0], *versions[1]} if versions[0].get(name) != versions[1].get(name)}
    if moved:
        before, after = (", ".join(f"{name} {found.get(name)}" for name in sorted(moved)) for found in versions)
        changed["versions"] = before, after
    return changed


def _values(manifest: Mapping[str, Any]) -> dict[str, Any]:
    # As JSON holds them: a tuple is a list there, a path is text.
    stored: dict[str, Any] = json.loads(
        serialization.dumps(
            {name: entry["value"] for name, entry in manifest["parameters"].items()} | Manifest(manifest).backend_kwargs
        )
    )
    return stored
