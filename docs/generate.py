"""Writes the pages that follow from the code; `--check` says instead whether one is out of date."""

import sys
from pathlib import Path

from training_hub import AlgorithmRegistry
from training_hub.parameters.description import table

PAGES = Path(__file__).parent
BUILT_IN = ("sft", "osft", "lora_sft")


def parameters() -> str:
    """The reference of all parameters."""
    lines = ["# Parameters", "", "Made from the declarations by `python docs/generate.py`. None means: not given.", ""]
    for name in BUILT_IN:
        algorithm = AlgorithmRegistry.get_algorithm(name)
        summary = (algorithm.__doc__ or "").split("\n\n")[0]
        lines += [f"## `{name}`", "", summary, "", table(algorithm.declared())]
    return "\n".join(lines)


def main() -> int:
    page = PAGES / "parameters.md"
    text = parameters()
    if "--check" not in sys.argv:
        page.write_text(text, encoding="utf-8")
    elif not page.exists() or page.read_text(encoding="utf-8") != text:
        print(f"{page} is out of date: run `nox -s docs`")  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
