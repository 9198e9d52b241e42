"""TensorBoard: event files, written by TensorBoard's own writer, which needs neither torch nor TensorFlow."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from typing_extensions import TypedDict

from training_hub.parameters.declaration import Param
from training_hub.parameters.groups import FilePath
from training_hub.store.events import Event, moment, whole
from training_hub.trackers import payload
from training_hub.trackers.tracker import TrackedRun, Tracker, TrackerOutcome

_LANGUAGES = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".txt": "", ".log": ""}


class TensorBoardParameters(TypedDict, total=False):
    """Experiment trackers."""

    tensorboard_log_dir: Annotated[
        FilePath | None, Param(None, "Directory of TensorBoard logs; turns that tracker on.", caller=True)
    ]


class TensorBoard(Tracker):
    """Writes scalars, the parameters as text and for the HParams tab, and the files that can be read as text."""

    name: ClassVar[str] = "tensorboard"
    title: ClassVar[str] = "TensorBoard"
    parameters: ClassVar[type] = TensorBoardParameters
    switch: ClassVar[str] = "tensorboard_log_dir"
    variables: ClassVar[Mapping[str, str]] = {"tensorboard_log_dir": "TENSORBOARD_LOGGING_DIR"}
    distributions: ClassVar[tuple[str, ...]] = ("tensorboard", "tb-nightly")
    least: ClassVar[tuple[int, int]] = (2, 16)
    install: ClassVar[str] = 'pip install "training-hub[tensorboard]"'

    @classmethod
    def problem(cls, settings: Mapping[str, Any]) -> str | None:
        directory = Path(settings["tensorboard_log_dir"])
        there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        return None if there.is_dir() else f"{there} is a file, not a directory"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._step = 0
        # The program may go elsewhere while it trains.
        self._given = Path(settings["tensorboard_log_dir"]).absolute()

    def begin(self, manifest: Mapping[str, Any], earlier: str | None) -> TrackedRun:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        directory = earlier or str(self._directory(manifest))
        self._writer = EventFileWriter(directory)
        parameters = payload.parameters(manifest)
        rows = [f"| {name} | {_cell(value)} |" for name, value in parameters.items()]
        self._text("parameters", "\n".join(["| parameter | value |", "|---|---|", *rows]))
        self._session_start(parameters)
        self._writer.flush()
        return TrackedRun(directory, directory)

    def receive(self, events: Sequence[Event]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        for event in events:
            if event["event"] == "start" and (reached := whole(event, "resumed_from")) is not None:
                # Readers drop what was told of later steps.
                log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                self._writer.add_event(event_pb2.Event(wall_time=moment(event), step=reached + 1, session_log=log))
            elif found := payload.measured(event):
                self._step, figures = found
                values = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]
                self._add(summary_pb2.Summary(value=values), moment(event))
        self._writer.flush()

    def end(self, outcome: TrackerOutcome) -> None:
        from tensorboard.compat.proto import summary_pb2

        state = outcome.state + (f": {outcome.cause}" if outcome.cause else "")
        self._text("state", state)
        figures = payload.final(outcome.metrics)
        values = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]
        self._add(summary_pb2.Summary(value=values))
        for path in outcome.files():
            if path.suffix == ".md":
                self._text(path.name, path.read_text(encoding="utf-8"))
            elif path.suffix in _LANGUAGES:
                self._text(path.name, f"```{_LANGUAGES[path.suffix]}\n{path.read_text(encoding='utf-8')}\n```")
        self._session_end(outcome.well)
        self._writer.close()

    def _directory(self, manifest: Mapping[str, Any]) -> Path:
        """The directory that was asked for; one inside it where another run is tracked in it."""
        if not any(self._given.glob("events.out.tfevents.*")):
            return self._given
        began = time.strftime("%Y%m%d-%H%M%S", time.localtime(manifest["start"]))
        names = (f"{began}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
        return next(self._given / name for name in names if not (self._given / name).exists())

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
        from tensorboard.plugins.text import metadata

        tensor = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING,
            string_val=[text.encode()],
            tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)]),
        )
        shown = metadata.create_summary_metadata(display_name=tag, description="")
        self._add(summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=shown, tensor=tensor)]))

    def _session_start(self, parameters: Mapping[str, Any]) -> None:
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in parameters.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            else:
                start.hparams[name].string_value = payload.text(value)
        self._hparams(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start))

    def _session_end(self, well: bool) -> None:
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        status = api_pb2.STATUS_SUCCESS if well else api_pb2.STATUS_FAILURE
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._hparams(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))

    def _hparams(self, tag: str, data: Any) -> None:
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.hparams import metadata

        shown = metadata.create_summary_metadata(data)
        value = summary_pb2.Summary.Value(tag=tag, metadata=shown, tensor=metadata.NULL_TENSOR)
        self._add(summary_pb2.Summary(value=[value]))

    def _add(self, summary: Any, wall_time: float | None = None) -> None:
        from tensorboard.compat.proto import event_pb2

        self._writer.add_event(event_pb2.Event(wall_time=wall_time or time.time(), step=self._step, summary=summary))


def _cell(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    return shown.replace("|", "\\|").replace("\n", " ")
