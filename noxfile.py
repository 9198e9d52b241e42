"""Every task a person runs: demo, tests, lint, build, bench.

Each session makes its own environment from built wheels, so what is tested is what users install.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"

ROOT = Path(__file__).parent
WHEELS = ROOT / "dist"
PACKAGES = {"core": ROOT / "core", "trl": ROOT / "plugins" / "trl"}
EXAMPLES = {name: ROOT / "tests" / "plugins" / name for name in ("good", "broken")}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def install(session: nox.Session, *requirements: str) -> None:
    """Install with uv, which takes seconds where pip takes minutes, and honours PIP_FIND_LINKS as pip does."""
    if session.venv_backend != "uv":
        session.install("uv")
    links = [*os.environ.get("PIP_FIND_LINKS", "").split(), str(WHEELS)]
    session.run(
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        str(session.virtualenv.location),
        "--constraint",
        str(ROOT / "constraints.txt"),
        *(f"--find-links={link}" for link in links if link != str(WHEELS) or WHEELS.exists()),
        *requirements,
        external=session.venv_backend == "uv",
    )


def wheels(session: nox.Session, *names: str) -> list[str]:
    """Build packages and return their wheels."""
    install(session, "build", "hatchling")
    made = []
    for name in names:
        source = {**PACKAGES, **EXAMPLES}[name]
        target = WHEELS / name
        shutil.rmtree(target, ignore_errors=True)
        session.run(
            "python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source), silent=True
        )
        made += [str(path) for path in target.glob("*.whl")]
    return made


def fresh(session: nox.Session, *built: str) -> None:
    """Put exactly these wheels into the environment, whatever an earlier run left there."""
    install(
        session,
        "--reinstall-package=training-hub",
        *(f"--reinstall-package={Path(w).name.split('-')[0]}" for w in built),
        *built,
    )


@nox.session
@nox.parametrize("environment", [nox.param(name, id=name) for name in ("core", "plugins", "trl")])
def tests(session: nox.Session, environment: str) -> None:
    """Test built wheels: the core alone, the core with example plugins, and each plugin with its framework."""
    tools = ["pip", "packaging", "pytest", "pytest-timeout", "hypothesis", "jsonschema", "pyarrow"]
    match environment:
        case "core":
            fresh(session, *wheels(session, "core"))
            paths = ["tests", "--ignore=tests/with_plugins", "--ignore=tests/plugins"]
        case "plugins":
            fresh(session, *wheels(session, "core", "good", "broken"))
            paths = ["tests/with_plugins"]
        case _:
            fresh(session, *wheels(session, "core", environment))
            paths = [f"plugins/{environment}/tests", "tests/data"]
    install(session, *tools)
    session.run("pytest", *(session.posargs or paths), env={**OFFLINE, "TRAINING_HUB_WHEELS": str(WHEELS)})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types."""
    install(session, "ruff", "mypy", "types-PyYAML")
    install(session, *wheels(session, "core"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "core/src/training_hub")
    session.run("python", "docs/generate.py", "--check")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel of every package into dist/."""
    for wheel in wheels(session, *PACKAGES):
        session.log(wheel)


@nox.session
def demo(session: nox.Session) -> None:
    """Train a small model on this machine, and show that it learned."""
    fresh(session, *wheels(session, "core", "trl"))
    session.run("training-hub", "demo", *(session.posargs or ["--output-dir", "demo-output"]), env=OFFLINE)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the pages of docs/ that follow from the code."""
    fresh(session, *wheels(session, "core"))
    session.run("python", "docs/generate.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what benchmarks/README.md claims."""
    fresh(session, *wheels(session, "core", "trl"))
    for script in session.posargs or sorted(str(p) for p in (ROOT / "benchmarks").glob("*.py")):
        session.run("python", script, env=OFFLINE)
