"""The commands of `training-hub`. What a command needs is imported when it runs, so that help comes at once."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training_hub.cli.algorithm_group import AlgorithmGroup
from training_hub.cli.commands import SETTINGS, GroupedCommand, PlainGroup
from training_hub.cli.plugin_commands import command_of, plugin_commands

if TYPE_CHECKING:
    from training_hub.cli.given import Given

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class RootGroup(PlainGroup):
    """All commands, those that train first; after the core's own, those that plugins bring."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = sorted(super().list_commands(ctx), key=lambda name: name not in ("train", "resume", "plan"))
        return [*own, *sorted(plugin_commands())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or command_of(cmd_name)


app = typer.Typer(
    cls=RootGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
    help="Fine-tune language models with any of several frameworks.",
)


class TrainGroup(AlgorithmGroup):
    """`train ALGORITHM`."""

    def perform(self, given: Given, **flags: Any) -> None:
        from training_hub.cli.train import train

        train(given)


class PlanGroup(AlgorithmGroup):
    """`plan ALGORITHM`."""

    def flags(self) -> list[inspect.Parameter]:
        as_json = typer.Option("--json", help="Print JSON.", rich_help_panel="Run")
        return [
            inspect.Parameter(
                "json_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, as_json]
            )
        ]

    def perform(self, given: Given, **flags: Any) -> None:
        from training_hub.cli.plan import plan
        from training_hub.cli.plan_text import print_plan

        made = plan(given)
        print_plan(made, as_json=flags["json_"])
        if made.problems:
            raise typer.Exit(2)


def run(args: list[str]) -> Any:
    """Run the command with these arguments."""
    made = typer.main.get_command(app)
    if args and not args[0].startswith("-"):
        # Typer imports pydantic to find out that these were not given; before a subcommand they cannot be.
        made.params = [p for p in made.params if p.name not in ("install_completion", "show_completion")]
    return made(args=args, prog_name="training-hub")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"training-hub {version('training-hub')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
) -> None: ...


def _group(cls: type[AlgorithmGroup], name: str, about: str) -> None:
    group = typer.Typer(cls=cls, rich_markup_mode=None, no_args_is_help=True, context_settings=SETTINGS, help=about)
    app.add_typer(group, name=name, subcommand_metavar="ALGORITHM [OPTIONS]")


_group(TrainGroup, "train", "Train; the file of --config may name the algorithm.")
_group(PlanGroup, "plan", "Show what train would do; nothing is started.")


@app.command(cls=GroupedCommand, context_settings=SETTINGS)
def backends(as_json: AsJson = False) -> None:
    """List the backends: here, able to run, missing."""
    from training_hub.cli.backends import print_backends

    print_backends(as_json=as_json)


@app.command(cls=GroupedCommand, context_settings=SETTINGS)
def schema(algorithm: Annotated[str, typer.Argument(metavar="ALGORITHM", help="Name of the algorithm.")]) -> None:
    """Print the JSON Schema of a configuration file.

    Editors complete and check YAML with it.
    """
    import json

    from training_hub.parameters.schema import json_schema
    from training_hub.plugins.registry import AlgorithmRegistry

    AlgorithmRegistry.get_algorithm(algorithm)
    typer.echo(json.dumps(json_schema(algorithm, AlgorithmRegistry.parameters(algorithm)), indent=2))


@app.command(cls=GroupedCommand, context_settings=SETTINGS)
def demo(
    output_dir: Annotated[
        Path, typer.Option("--output-dir", metavar="DIR", help="Where the demonstration writes.", show_default=True)
    ] = Path("training-hub-demo"),
) -> None:
    """Train a small model here, to see that it works."""
    from training_hub.cli.demo import run_demo

    run_demo(output_dir)


@app.command(cls=GroupedCommand, context_settings=SETTINGS)
def resume(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a run, or of one of its checkpoints.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter that is to differ; may be repeated."),
    ] = None,
    allowed: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="NAME", help="What else may differ: data, model, versions; may be repeated."),
    ] = None,
) -> None:
    """Go on with a run that was stopped, killed, or failed."""
    from training_hub.cli.resume import resumed
    from training_hub.cli.train import train

    train(resumed(directory, changes or (), allowed or ()))


@app.command("new-plugin", cls=GroupedCommand, context_settings=SETTINGS)
def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the plugin and its backend: my-backend.")],
    algorithm: Annotated[
        bool, typer.Option("--algorithm", help="With an algorithm of its own: rows, a parameter, a figure.")
    ] = False,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", metavar="DIR", help="Where the package's directory is made.")
    ] = Path(),
) -> None:
    """Write a new plugin: a backend that trains, and tests."""
    from training_hub.cli.new_plugin import print_new_plugin

    print_new_plugin(name, algorithm=algorithm, output_dir=output_dir)


runs = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=SETTINGS,
    help="List runs, show one, compare several.",
)
app.add_typer(runs, name="runs", subcommand_metavar="COMMAND [OPTIONS]")

Run = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the run.")]
Runs = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories of the runs.")]


@runs.command("list", cls=GroupedCommand, context_settings=SETTINGS)
def list_runs(
    places: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR]...", help="Where to look, also in subdirectories; here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from training_hub.cli.runs import print_list

    print_list(places or [Path()], as_json=as_json)


@runs.command(cls=GroupedCommand, context_settings=SETTINGS)
def show(directory: Run, as_json: AsJson = False) -> None:
    """Show what ran and what came of it."""
    from training_hub.cli.runs import print_run

    print_run(directory, as_json=as_json)


@runs.command(cls=GroupedCommand, context_settings=SETTINGS)
def compare(directories: Runs, as_json: AsJson = False) -> None:
    """Show what runs differ in, and their losses beside each other."""
    from training_hub.cli.runs import print_comparison

    print_comparison(directories, as_json=as_json)


@app.command(cls=GroupedCommand, context_settings=SETTINGS)
def watch(directory: Run) -> None:
    """Follow a run, from another terminal or machine; ends with it."""
    from training_hub.reading.watching import watch as follow

    follow(directory)


@app.command(cls=GroupedCommand, context_settings=SETTINGS)
def plot(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Runs, or metrics files of a framework alone.")
    ],
    figure: Annotated[
        str, typer.Option("--figure", metavar="NAME", help="What to plot of them.", show_default=True)
    ] = "loss",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="A .png, .svg or .pdf file; by default the figure's name with .png."
        ),
    ] = None,
    against: Annotated[
        str, typer.Option("--against", metavar="WORD", help="steps, tokens or time.", show_default=True)
    ] = "steps",
    ema: Annotated[
        float | None, typer.Option("--ema", metavar="NUMBER", help="Smooth by a moving average: 0 to 1, such as 0.9.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="TEXT", help="Name of a run; once for each, in order.")
    ] = None,
) -> None:
    """Plot losses, or another figure, of several runs in training and validation."""
    from typing import cast

    from training_hub.reading.curves import Against
    from training_hub.reading.plot import plot_loss

    target = output or Path(f"{figure}.png")
    plot_loss(directories, figure=figure, labels=label or None, ema=ema, against=cast(Against, against), output=target)
    typer.echo(str(target))


@app.command(cls=GroupedCommand, context_settings=SETTINGS)
def report(
    directory: Run,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="The file to write; report.html in the run.")
    ] = None,
) -> None:
    """Write a page of HTML about a run, whole in one file."""
    from training_hub.reading.report import write_report

    typer.echo(str(write_report(directory, output)))
