"""The demonstration that a plugin brings."""

from __future__ import annotations

from pathlib import Path

import typer

from training_hub.errors import BackendNotInstalledError
from training_hub.plugins import discovery
from training_hub.plugins.catalog import ANYWHERE, install_command
from training_hub.store.directory import check_writable


def run_demo(output_dir: Path) -> None:
    """Run the demonstration of the first plugin that has one.

    Raises:
        BackendNotInstalledError: None has one; the message has the command that installs one.
        OutputDirectoryError: The directory cannot be made or written.
    """
    check_writable("--output-dir", output_dir)
    loaded, broken = discovery.loadable()
    for plugin in loaded.values():
        if plugin.demo is not None:
            plugin.demo(output_dir=output_dir, say=typer.echo)
            return
    reasons = "".join(f"\n{error}" for error in broken.values())
    raise BackendNotInstalledError(
        f"no plugin that is installed brings a demonstration; install one: {install_command(ANYWHERE)}{reasons}"
    )
