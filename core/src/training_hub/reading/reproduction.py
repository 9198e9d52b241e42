"""How to get the same run again: the packages, and the call."""

from __future__ import annotations

import keyword
from typing import Any

from training_hub.store.manifest import Manifest

_OF_THE_PLACE = ("overwrite_output_dir", "resume")
"""What said where a run may go, rather than what it learns."""


def install_line(manifest: Manifest) -> str:
    """The command that installs what the run was carried out with; empty where that is not known."""
    # The part behind a plus names a build that is not on the index under that name.
    wanted = [f"{name}=={version.partition('+')[0]}" for name, version in manifest.versions.items()]
    return f"pip install {' '.join(wanted)}" if wanted else ""


def call(manifest: Manifest) -> str:
    """The call, with every value that somebody chose; empty where the algorithm is not known."""
    algorithm = manifest.text("algorithm")
    if not algorithm or not algorithm.isidentifier():
        return ""
    given = {name: value for name, value in manifest.given.items() if name not in _OF_THE_PLACE}
    # Whichever backend was chosen then: another machine might choose another one.
    if backend := manifest.text("backend"):
        given["backend"] = backend
    given.pop("callbacks", None)
    lines = [f"    {name}={_literal(value)}," for name, value in given.items() if _is_keyword(name)]
    others = {name: value for name, value in given.items() if not _is_keyword(name)}
    if others:
        lines.append(f"    **{_literal(others)},")
    if not hasattr(_top_level(), algorithm):
        made = f'create_algorithm("{algorithm}")'
        return "\n".join(["from training_hub import create_algorithm", "", f"{made}.train(", *lines, ")"])
    return "\n".join([f"from training_hub import {algorithm}", "", f"{algorithm}(", *lines, ")"])


def conditions(manifest: Manifest) -> list[str]:
    """What else has to be the same."""
    data, git = manifest.part("data"), manifest.part("git")
    found = []
    if (mark := data.get("sha256")) is not None:
        found.append(f"the rows: sha256 {mark}")
    if (mark := manifest.part("model").get("fingerprint")) is not None:
        found.append(f"the model: fingerprint {mark}")
    if (commit := git.get("commit")) is not None:
        found.append(f"the code it was called from: commit {commit}{', with changes' if git.get('dirty') else ''}")
    if "callbacks" in manifest.given:
        found.append("the callbacks it was given")
    return found


def _top_level() -> Any:
    import training_hub

    return training_hub


def _is_keyword(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _literal(value: Any) -> str:
    return repr(value)
