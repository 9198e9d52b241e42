"""Loads a plugin in a process of its own, lets it translate, and watches what that does besides.

`python -m training_hub.testing.watch JOB OUTCOME`. Every stage is watched apart: `list` (metadata alone), `load` (the
entry module and its hooks), `availability`, `translate`.
"""

from __future__ import annotations

import contextlib
import json
import os
import site
import subprocess
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

HEAVY = ("torch", "tensorflow", "jax")
"""Packages that nobody waits for who only lists, plans or misspells."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FILES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_PROCESSES = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.spawn"}
_CONNECTIONS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"}


@dataclass
class Stage:
    """What a stage did besides its work."""

    files: list[str] = field(default_factory=list)
    """Written, made, moved or deleted."""
    processes: list[str] = field(default_factory=list)
    """Started."""
    connections: list[str] = field(default_factory=list)
    """Opened, or looked up by name."""
    imports: list[str] = field(default_factory=list)
    """Of torch, or of the backend's framework: the module, and the lines that led to it."""
    entry_imported: bool = False
    """Whether the plugin's module was imported when the stage ended."""
    error: str = ""


def watch(
    backend: str, asked: Mapping[str, list[dict[str, Any]]], directory: Path, environment: Mapping[str, str]
) -> dict[str, Stage]:
    """Watch an installed backend in a fresh process; return the stages it came to.

    Args:
        backend: Its name.
        asked: What to translate: parameters by algorithm.
        directory: An empty directory for the process' home, working directory and temporary files.
        environment: Variables of the process.
    """
    places = {name: directory / name for name in ("home", "working", "temporary")}
    for place in places.values():
        place.mkdir(parents=True)
    job, outcome = directory / "job.json", directory / "outcome.json"
    job.write_text(json.dumps({"backend": backend, "asked": asked}), encoding="utf-8")
    variables = {
        **environment,
        # Packages that were installed for this user alone are still found.
        "PYTHONUSERBASE": site.getuserbase(),
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-m", __name__, str(job), str(outcome)],
        cwd=places["working"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if not outcome.exists():
        raise RuntimeError(f"the watched process ended with exit code {ended.returncode}:\n{ended.stderr}")
    found = {name: Stage(**stage) for name, stage in json.loads(outcome.read_text(encoding="utf-8")).items()}
    # What a library writes without Python is seen by what lies there afterwards.
    if last := found.get("translate"):
        said = {path for stage in found.values() for path in stage.files}
        left = [str(path) for place in places.values() for path in place.rglob("*")]
        last.files += [path for path in left if not any(path in entry for entry in said)]
    return found


class _Watcher:
    """Takes down what Python's audit events tell, for one stage at a time."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        self.stages: dict[str, Stage] = {}
        self._current: Stage | None = None
        self._imported: set[str] = set()
        sys.addaudithook(self._hear)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Watch the block; an error that ends it is taken down and raised again."""
        current = self.stages[name] = self._current = Stage()
        before = set(sys.modules)
        try:
            yield
        except BaseException as error:
            current.error = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._current = None
            # An import that was heard of and then failed is no import.
            came = {module.partition(".")[0] for module in set(sys.modules) - before}
            current.imports = [line for line in current.imports if line.partition(" ")[0] in came]
            current.entry_imported = self.entry in sys.modules

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        stage, self._current = self._current, None
        if stage is None:
            return
        try:
            if event == "import":
                self._import(stage, str(arguments[0]))
            elif event == "open":
                path, _, flags = arguments
                if isinstance(flags, int) and flags & _WRITES and path != os.devnull:
                    stage.files.append(f"{os.fspath(path) if not isinstance(path, int) else path}{_came_from()}")
            elif event in _FILES:
                stage.files.append(f"{event} {arguments[0]}{_came_from()}")
            elif event in _PROCESSES:
                stage.processes.append(f"{event} {arguments[0] if arguments else ''}{_came_from()}")
            elif event in _CONNECTIONS:
                stage.connections.append(
                    f"{event} {arguments[1] if event == 'socket.connect' else arguments[0]}{_came_from()}"
                )
        finally:
            self._current = stage

    def _import(self, stage: Stage, module: str) -> None:
        package = module.partition(".")[0]
        if package not in self._imported:
            self._imported.add(package)
            stage.imports.append(f"{package}{_came_from()}")

    def keep_imports_of(self, packages: Collection[str]) -> None:
        """Forget what was imported of others."""
        for stage in self.stages.values():
            stage.imports = [line for line in stage.imports if line.partition(" ")[0] in packages]


def _came_from() -> str:
    """The lines that led to what is heard, the nearest first, without those of Python's own import."""
    skipped = ("<frozen", __file__, contextlib.__file__)
    frames = ((frame.f_code.co_filename, line) for frame, line in traceback.walk_stack(sys._getframe()))
    lines = [f"{file}:{line}" for file, line in frames if not file.startswith(skipped)]
    return f" (from {', '.join(lines[:4])})" if lines else ""


def _packages_of(distribution: str | None) -> tuple[str, ...]:
    """Packages that a distribution alone brings."""
    return tuple(
        package for package, brought_by in packages_distributions().items() if set(brought_by) == {distribution}
    )


def _observe(watcher: _Watcher, backend: str, asked: Mapping[str, list[dict[str, Any]]], packages: set[str]) -> None:
    from training_hub.backends.base import FrameworkBackend
    from training_hub.errors import UserError
    from training_hub.plugins import discovery
    from training_hub.plugins.registry import AlgorithmRegistry

    with watcher.stage("list"):
        discovery.installed()
    with watcher.stage("load"):
        found = discovery.load(backend).backends[backend]
    packages.update(_packages_of(found.framework))
    made = found()
    made.name = backend
    with watcher.stage("availability"):
        made.availability()
    # What the hub itself needs to translate is there before the backend's own work is watched.
    resolved = [
        AlgorithmRegistry.get_algorithm(algorithm).resolve(values, backend=found)
        for algorithm in asked
        for values in asked[algorithm]
    ]
    if not isinstance(made, FrameworkBackend):
        return
    with watcher.stage("translate"):
        for parameters in resolved:
            # What cannot be translated at all is another check's.
            try:
                made.translate(parameters)
            except UserError:
                continue


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    from training_hub.plugins import discovery

    entry = discovery.installed()[job["backend"]].entry_points[0].module
    watcher, packages = _Watcher(entry), set(HEAVY)
    # Why a stage ended early is in its record.
    with contextlib.suppress(Exception):
        _observe(watcher, job["backend"], job["asked"], packages)
    watcher.keep_imports_of(packages)
    found = {name: asdict(stage) for name, stage in watcher.stages.items()}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
