"""How long a person waits before anything happens: import, --help, backends, each against bare Python."""

import os
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

COMMAND = str(Path(sysconfig.get_path("scripts")) / "training-hub")
CASES = {
    "import training_hub": ([sys.executable, "-c", "import training_hub"], 0.15),
    "from training_hub import sft": ([sys.executable, "-c", "from training_hub import sft"], None),
    "training-hub --help": ([COMMAND, "--help"], 0.3),
    "training-hub backends": ([COMMAND, "backends"], 0.5),
}
BARE = [sys.executable, "-c", "pass"]
RUNS = 9


# With compiled files kept, as they are for users.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    print(f"median of {RUNS} runs, each beside one of bare Python; seconds")
    print(f"{'':32}{'wall':>8}{'bare':>8}{'beyond':>8}{'goal':>8}")
    for name, (command, goal) in CASES.items():
        seconds(command)
        pairs = [(seconds(command), seconds(BARE)) for _ in range(RUNS)]
        wall, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{name:32}{wall:8.3f}{bare:8.3f}{wall - bare:8.3f}{goal or '':>8}")


if __name__ == "__main__":
    main()
