"""The directory of a run: what lies where in `ckpt_output_dir`, and whether a new run may go there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from training_hub.errors import OutputDirectoryError, RunFormatError, UserError
from training_hub.store import serialization
from training_hub.store.events import read_events
from training_hub.store.lock import locked
from training_hub.store.manifest import read_manifest

TRAINED = ("final", "merged", "gguf", "checkpoint-*")
METRICS: Mapping[str, tuple[str, ...]] = {
    "sft": ("training_params_and_metrics_global0.jsonl",),
    "osft": ("training_metrics_0.jsonl", "training_params.json"),
    "lora_sft": ("training_metrics.jsonl",),
}
"""What platforms read a run's progress from, by algorithm; see `execution.metrics_files`."""
LINKED = "hf_format"
"""Where scripts look for checkpoints; see `execution.checkpoint_links`."""
OURS = ("run.json", "events.jsonl", "logs", *TRAINED, "report.html", *chain.from_iterable(METRICS.values()))
"""What a run writes; what overwrite_output_dir removes of an older one."""
FOREIGN = ("hf_format", "full_state", "model*.safetensors", "adapter_model.safetensors")
"""What frameworks called without the hub leave behind: refused like a run of ours, and never removed."""


def node_directory(values: Mapping[str, Any]) -> Path:
    """Where a node's run goes: a further node's inside that of the first, for nodes may share a disk.

    Args:
        values: The parameters' by their names; of a job or of a call.
    """
    return _own(Path(values["ckpt_output_dir"]), values["node_rank"])


def data_directory(values: Mapping[str, Any]) -> Path:
    """Where a node's processed rows go: each node writes its own."""
    given = values["data_output_dir"]
    return _own(Path(given), values["node_rank"]) if given else node_directory(values) / "data"


def _own(place: Path, rank: int) -> Path:
    return place / "nodes" / str(rank) if rank else place


class RunDirectory:
    """Paths of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> Path:
        """What ran: backend, versions, parameters, translation, data, state."""
        return self.path / "run.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def logs(self) -> Path:
        """What the processes of the run printed."""
        return self.path / "logs"

    @property
    def control(self) -> Path:
        """What the caller asks of the run while it trains."""
        return self.logs / "control.json"

    @property
    def outcome(self) -> Path:
        """What came of training, from the processes that train."""
        return self.logs / "outcome.json"

    @property
    def final(self) -> Path:
        """The trained model, or for LoRA the adapter."""
        return self.path / "final"

    @property
    def merged(self) -> Path:
        """For LoRA: the base model with the adapter merged in."""
        return self.path / "merged"

    def earlier_run(self) -> list[Path]:
        """What an earlier run left here."""
        return [*self._own(), *self._foreign()]

    def nothing_to_lose(self) -> bool:
        """Whether a run that was killed as it made the directory ready, before it said what it was, is all there is."""
        return not self.manifest.exists() and (
            self._aside.exists() or all(path == self.logs for path in self.earlier_run())
        )

    def never_began(self) -> bool:
        """Whether the run here failed or was killed before it trained, and no earlier one is still set aside for it."""
        if self._put_aside() or self._has_trained():
            return False
        if self.earlier_run() == [self.logs]:
            return not any(self.logs.iterdir())
        try:
            manifest = read_manifest(self.manifest)
        except RunFormatError:
            return False
        return manifest is not None and manifest.text("state") in ("running", "failed", "interrupted")

    def _has_trained(self) -> bool:
        return (
            any(self._matching(TRAINED))
            or any(self._foreign())
            or any(event["event"] == "start" for event in read_events(self.events))
        )

    def _put_aside(self) -> list[Path]:
        return list(self._aside.iterdir()) if self._aside.is_dir() else []

    def _own(self) -> Iterator[Path]:
        yield from self._matching(OURS)
        links, place = self.links(), self.path / LINKED
        yield from (link for link in links if link.parent == self.path)
        # Where somebody else has put something there, it is theirs.
        if (inside := [link for link in links if link.parent == place]) and len(inside) == len(list(place.iterdir())):
            yield place

    def _foreign(self) -> Iterator[Path]:
        own = set(self._own())
        return (path for path in self._matching(FOREIGN) if path not in own)

    def links(self) -> list[Path]:
        """All links to what is trained here; see `execution.checkpoint_links`."""
        entries = sorted(self.path.iterdir()) if self.path.is_dir() else []
        inside = [] if (self.path / LINKED).is_symlink() else sorted(self.path.glob(f"{LINKED}/*"))
        return [*filter(_is_link, entries), *(path for path in inside if _is_link(path, "../"))]

    def _matching(self, patterns: tuple[str, ...]) -> Iterator[Path]:
        for pattern in patterns:
            yield from sorted(self.path.glob(pattern))

    def check(self, *, overwrite: bool, model_path: Path | None, needed_bytes: int, resumed: bool = False) -> None:
        """Find out, without writing, whether a run may go here.

        Args:
            overwrite: Whether an earlier run may be replaced.
            resumed: Whether it is the earlier run that goes on.
            model_path: The base model, which is never written over.
            needed_bytes: Least space that the run needs.

        Raises:
            OutputDirectoryError: It may not.
        """
        if model_path is not None and self.path.exists() and self.path.resolve() == model_path.resolve():
            raise OutputDirectoryError(
                f"ckpt_output_dir={self.path}: it is the directory of the model itself; give another one"
            )
        if model_path is not None:
            self.check_spares("model_path", model_path)
        found = self.earlier_run() + ([self._aside] if self._put_aside() else [])
        if found and not (overwrite or resumed or self.never_began()):
            names = ", ".join(path.name for path in found[:5]) + (", ..." if len(found) > 5 else "")
            raise OutputDirectoryError(
                f"ckpt_output_dir={self.path}: it holds another run ({names}); give an empty directory, "
                f"resume=True to go on with that run, or overwrite_output_dir=True to replace it"
            )
        foreign = list(self._foreign())
        if foreign:
            raise OutputDirectoryError(
                f"ckpt_output_dir={self.path}: {foreign[0].name} was not written by Training Hub and is not removed "
                f"even with overwrite_output_dir=True; move it away, or give another directory"
            )
        check_writable("ckpt_output_dir", self.path)
        if (free := self.free()) < needed_bytes:
            raise OutputDirectoryError(
                f"ckpt_output_dir={self.path}: the disk has {size(free)} free and a checkpoint of this model takes "
                f"{size(needed_bytes)}; free some space, or give a directory on another disk"
            )

    def check_spares(self, name: str, path: Path) -> None:
        """Find out whether a new run here would replace what it reads.

        Args:
            name: The parameter that says what is read.
            path: What is read.

        Raises:
            OutputDirectoryError: It would.
        """
        read = path.resolve()
        if any(read.is_relative_to(written.resolve()) for written in self._own()):
            raise OutputDirectoryError(
                f"{name}={path}: it is part of the run in ckpt_output_dir={self.path}, which a new run there replaces; "
                f"give another ckpt_output_dir"
            )

    def free(self) -> int:
        """Bytes left on its disk."""
        return shutil.disk_usage(_ancestor(self.path)).free

    @contextlib.contextmanager
    def new_run(self, *, resumed: bool = False) -> Iterator[None]:
        """Make the directory ready for a run, for the time of the block, in which no other run can go there.

        An earlier run is set aside, and gone for good once `started` is called or the block ends well. It is put back
        where the run fails before that. A mistake of the user's (`UserError`) then leaves everything as it was; of
        another failure the logs stay.

        Args:
            resumed: Whether the earlier run goes on: it stays.

        Raises:
            OutputDirectoryError: The directory cannot be written, or another run is under way in it.
        """
        new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path))
                self._make_ready(resumed)
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                yield
            except UserError:
                if self._aside.exists():
                    self._restore(new)
                raise
            except BaseException:
                if self._aside.exists():
                    self._withdraw()
                raise
            self.started()

    def _make_ready(self, resumed: bool) -> None:
        if resumed:
            # It has not completed: what is there of its trained model was cut off, and is made anew.
            for path in (self.final, self.merged):
                shutil.rmtree(path, ignore_errors=True)
        else:
            self._set_aside()
        self.logs.mkdir(exist_ok=True)
        # Of the processes that ran before: what they left would be taken for news.
        for path in (*self.logs.glob("*.error.json"), self.outcome, self.control):
            path.unlink(missing_ok=True)

    def _set_aside(self) -> None:
        worthless = self.never_began()
        self._aside.mkdir(exist_ok=True)
        for path in list(self._own()):
            # Where one was set aside already, what is here is of a run that was killed before it began.
            if worthless or (self._aside / path.name).exists():
                _remove(path)
            else:
                path.replace(self._aside / path.name)

    def _unwritable(self, error: OSError) -> OutputDirectoryError:
        return OutputDirectoryError(f"ckpt_output_dir={self.path}: cannot be written: {error}")

    def started(self) -> None:
        """Training has begun: an earlier run that was set aside is deleted."""
        shutil.rmtree(self._aside, ignore_errors=True)

    @property
    def _aside(self) -> Path:
        return self.path / ".earlier-run"

    def _withdraw(self) -> None:
        if self._has_trained() or not self._put_aside():
            self.started()
            return
        # The error names a log by its path, so what this run logged goes on where the earlier one's ends.
        (self._aside / self.logs.name).mkdir(exist_ok=True)
        for log in self.logs.glob("*.log"):
            with contextlib.suppress(OSError), (self._aside / self.logs.name / log.name).open("ab") as earlier:
                earlier.write(log.read_bytes())
        self._restore(new=False)

    def _restore(self, new: bool) -> None:
        for path in list(self._own()):
            _remove(path)
        for path in list(self._aside.iterdir()):
            path.replace(self.path / path.name)
        self._aside.rmdir()
        if new:
            shutil.rmtree(self.path)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_link(path: Path, up: str = "") -> bool:
    """Whether it is a link to what is trained in its directory, or in the one above."""
    return path.is_symlink() and str(path.readlink()).startswith((f"{up}final", f"{up}checkpoint-"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically: a reader sees the old or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(serialization.dumps(content, indent=2))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote.

    Raises:
        ValueError: It is no JSON.
    """
    return serialization.loads(path.read_text(encoding="utf-8"))


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def check_writable(parameter: str, path: Path) -> None:
    """Find out, without writing, whether a directory can be made and written.

    Raises:
        OutputDirectoryError: It cannot; with the parameter or option that gives it.
    """
    ancestor = _ancestor(path)
    if not ancestor.is_dir():
        raise OutputDirectoryError(
            f"{parameter}={path}: {ancestor} is a file, not a directory; give the path of a directory"
        )
    if not os.access(ancestor, os.W_OK | os.X_OK) or os.statvfs(ancestor).f_flag & os.ST_RDONLY:
        raise OutputDirectoryError(f"{parameter}={path}: {ancestor} cannot be written; give another one")


def _ancestor(path: Path) -> Path:
    """The directory, or what it will be made in."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())
