"""What a step's event costs, over what a step of the smallest model takes that anybody trains: the demo's, on a CPU.

The cost is all the processor time of writing the event, looking for orders, and having the event read and shown in the
caller's process; on a real backend the last part is mostly in another process than training.
"""

import argparse
import itertools
import random
import statistics
import tempfile
import time
from pathlib import Path


def cost(directory: Path, count: int) -> float:
    """Seconds of the processor for one event."""
    from training_hub.reading.console import Console
    from training_hub.store.control import Control, ControlReader
    from training_hub.store.directory import RunDirectory
    from training_hub.store.events import EventLog, Follower

    run = RunDirectory(directory)
    run.logs.mkdir(parents=True)
    log, control_reader = EventLog(run.events), ControlReader(run)
    Control(run).save()
    framework = {"loss": 2.5, "grad_norm": 0.7, "learning_rate": 1e-4, "entropy": 3.1, "num_tokens": 1e6, "epoch": 0.5}
    figures = {"loss": 2.5, "learning_rate": 1e-4, "grad_norm": 0.7, "tokens": 10**6, "tokens_per_second": 1e4}
    with Console() as console, Follower(run.events, console.receive):
        before = time.process_time()
        for step in range(1, count + 1):
            log.emit("step", step=step, max_steps=count, epoch=step / count, **figures, framework=framework)
            control_reader.orders()
    return (time.process_time() - before) / count


def step_seconds(directory: Path) -> float:
    """The median of a run's steps."""
    from training_hub import sft
    from training_hub.plugin import read_events
    from training_hub.testing.toy import make_model, write_rows
    from training_hub_trl.demo import _words, row

    make_model(directory / "model")
    words = _words(random.Random(1))
    write_rows(directory / "rows.jsonl", [row(next(words)) for _ in range(3000)])
    sft(
        model_path=directory / "model",
        data_path=directory / "rows.jsonl",
        ckpt_output_dir=directory / "run",
        backend="trl",
        num_epochs=2,
        effective_batch_size=32,
        max_seq_len=64,
    )
    told = [event["time"] for event in read_events(directory / "run" / "events.jsonl") if event["event"] == "step"]
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(told))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--events", type=int, default=20_000)
    count = options.parse_args().events
    with tempfile.TemporaryDirectory() as place:
        step = step_seconds(Path(place))
        each = statistics.median(cost(Path(place) / str(number), count) for number in range(3))
    print(
        f"{each * 1e6:.0f} microseconds of the processor an event, {step * 1e3:.1f} ms a step: {each / step:.2%} of a "
        f"step; goal: under 1 %"
    )


if __name__ == "__main__":
    main()
