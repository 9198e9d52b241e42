"""Puts the examples on disk as pip would: a distribution whose entry points name a module each."""

from pathlib import Path

from contract_example.broken import CAUGHT_BY

GOOD = ("Honest", "HonestTwo", "Plain", "Absent", "OfItsOwn")
"""In `backend`; so is `Unacknowledged`."""
MODULES = {
    "SpeaksAnotherVersion": ("test_its_plugin_loads", ("hooks = 1", "hooks = 0")),
    "BringsNothing": ("test_its_plugin_loads", ('"NAME"', '"another"')),
    "ImportsOnLoad": (
        "test_loading_imports_no_framework",
        ("from training_hub.plugin", "import torch\nfrom training_hub.plugin"),
    ),
    "IsImportedAtStart": ("test_listing_imports_nothing_of_it", ("", "")),
}
"""Plugins that are broken in their module: the check that must fail, and what is written in the module instead."""
NOT_INSTALLED = "IsNotInstalled"

NAMES = (*GOOD, "Unacknowledged", *CAUGHT_BY, *MODULES, NOT_INSTALLED)
EXPECTED = {
    **dict.fromkeys(GOOD, ()),
    "Unacknowledged": ("test_what_users_rely_on_most_is_checked",),
    **CAUGHT_BY,
    **{name: (check,) for name, (check, _) in MODULES.items()},
    NOT_INSTALLED: ("test_it_is_installed",),
}
"""The checks that must fail."""

MODULE = """
from training_hub.plugin import hookimpl

training_hub_hooks = 1


@hookimpl
def training_hub_backends():
    from contract_example.HOME import CLASS

    return {"NAME": CLASS}
"""

FIGURES = """

@hookimpl
def training_hub_algorithms():
    from contract_example.backend import Promising

    return [Promising]
"""

ALGORITHMS = """

@hookimpl
def training_hub_algorithms():
    from contract_example.backend import Repeating

    return [Repeating]


@hookimpl
def training_hub_row_formats():
    from contract_example.backend import Words

    return [Words()]
"""


def install(place: Path) -> None:
    """Write the distribution into a directory that is on the path."""
    info = place / "contract_examples-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: contract-examples\nVersion: 1.0\n")
    lines = ["[training_hub.backends]"]
    for name in NAMES:
        if name == NOT_INSTALLED:
            continue
        text = MODULE + {"OfItsOwn": ALGORITHMS, "KeepsAFigureToItself": FIGURES}.get(name, "")
        if name in MODULES:
            _, (old, new) = MODULES[name]
            text = text.replace(old, new) if old else text
        home, kind = (
            ("broken", name)
            if name in CAUGHT_BY
            else ("backend", name if name in (*GOOD, "Unacknowledged") else "Honest")
        )
        text = text.replace("HOME", home).replace("CLASS", kind).replace("NAME", name)
        (place / f"plugin_{name}.py").write_text(text)
        lines.append(f"{name} = plugin_{name}")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    # As a package does that lays a .pth file beside itself.
    (place / "sitecustomize.py").write_text("import plugin_IsImportedAtStart\n")
