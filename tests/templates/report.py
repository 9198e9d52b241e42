"""Judges every template of the installed packages with every kind of row: `python report.py [PAGE.md]`.

Exits with 1 where something is wrong.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from collection import Template, templates
from judge import Judge, Verdict
from kinds import KINDS

PACKAGES = ("trl", "axolotl", "unsloth")
Verdicts = dict[str, Verdict]

INTRODUCTION = """# Chat templates

What the hub trains of a row is told from the chat template itself, see [Data](data.md). Here that is tried on all
{templates} distinct templates of {packages}, each with {kinds} kinds of row, {rows} in all:
**{exact} exact, {refused} refused with the reason, {wrong} wrong**. Made by `nox -s templates`; transformers {transformers}.

A row is exact where an independent judge finds nothing to say:

- The tokens are those of `apply_chat_template(tokenize=True)`.
- Of the words in the row, which all differ, those of the turns to be learnt are trained and no others.
- Where the text begins as the render of fewer messages does, what is trained of a turn is what the render with that turn
  has beyond the generation prompt, up to the end-of-turn token.
- Where the package has the same template with `{{% generation %}}`, what is trained is what is marked there, but for space
  behind the end-of-turn token and for what the generation prompt already gives, which a model does not write. Of DiffusionGemma
  the `<|tool_response>` behind a call is trained, too, which is where the model stops.

A refusal is right only if the template does not write all that is in the row. What a template itself lacks is the reason
of it, with the number of kinds that have it.

| template | exact | refused |
|---|---|---|
"""


def judged(template: Template) -> Verdicts:
    """Each kind of row."""
    judge = Judge(template)
    return {kind: judge.judge(row) for kind, row in KINDS.items()}


def reasons(verdicts: Verdicts) -> str:
    """Why rows are refused, each reason with the number of kinds that have it."""
    counts = Counter(_short(verdict.why) for verdict in verdicts.values() if verdict.outcome == "refused")
    return "; ".join(f"{reason} ({count})" for reason, count in counts.most_common())


def _short(why: str) -> str:
    """A reason without what mends it, and without the row's own."""
    said = why.partition(";")[0].removeprefix("the chat template ").rstrip(". ")
    said = re.sub(r"message \d+ \(role '(\w+)'\)", r"a message of role \1", said)
    said = re.sub(r"does not take the row: (.*)", r"says: \1", said)
    return re.sub(r"(or rewrites it|a part of [^,]*)[:,] .*", r"\1", said).replace("|", "\\|")


def page(found: dict[str, Verdicts]) -> str:
    """The page of docs/."""
    counts = Counter(verdict.outcome for verdicts in found.values() for verdict in verdicts.values())
    text = INTRODUCTION.format(
        templates=len(found),
        packages=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        kinds=len(KINDS),
        rows=len(found) * len(KINDS),
        exact=counts["exact"],
        refused=counts["refused"],
        wrong=counts["wrong"],
        transformers=version("transformers"),
    )
    for name, verdicts in found.items():
        exact = sum(verdict.outcome == "exact" for verdict in verdicts.values())
        text += f"| {name} | {exact} | {reasons(verdicts)} |\n"
    text += "\n## Warnings\n\n| warning | rows |\n|---|---|\n"
    warned = Counter(warning for verdicts in found.values() for each in verdicts.values() for warning in each.warnings)
    for warning, count in warned.most_common():
        text += f"| {warning} | {count} |\n"
    return text


def main() -> int:
    """Judge, print what is wrong, and write the page if one is named."""
    found: dict[str, Verdicts] = defaultdict(dict)
    wrong = 0
    for template in templates():
        found[template.name] = judged(template)
        for kind, verdict in found[template.name].items():
            if verdict.outcome == "wrong":
                wrong += 1
                sys.stdout.write(f"{template.name}, {kind}: {verdict.why}\n")
    for target in sys.argv[1:]:
        Path(target).write_text(page(found), encoding="utf-8")
    sys.stdout.write(f"{len(found)} templates, {len(KINDS)} kinds of row, {wrong} wrong\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
