"""``python -m dse.search``: which approximate multiplier each layer and each expert should use."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dse._explore import explore_run
from dse.results import (
    Run,
    as_json,
    closing_table,
    first_line,
    read_runs,
    together_table,
    trust,
    write_together,
)
from dse.study import ALL, IN_MEMORY, SearchConfig, check, located, open_storage
from luts import FIGURES, Layout, catalog
from luts.console import (
    Parser,
    Reporter,
    Terminal,
    keep_freed_memory,
    quieten_libraries,
    run,
)
from luts.errors import InputError
from luts.loading import add_files, files_named
from luts.settings import add_settings, given_settings, settings_of
from luts.text import quoted
from models import ARCHITECTURES


def main() -> None:
    """Search one topology or all, as the command line asks."""
    arguments = _parser().parse_args()
    keep_freed_memory()
    quieten_libraries()
    reporter = Reporter(quiet=arguments.quiet)
    folder = _resumed(arguments) if arguments.resume else _new(arguments, reporter)
    for notice in catalog.notices(folder.config.multipliers):
        reporter.note(notice)
    # What scripts read is alone on standard output.
    console = Terminal(width=170, quiet=arguments.quiet or arguments.json)
    try:
        if folder.config.topology == ALL:
            _search_each_topology(folder, console, reporter, with_json=arguments.json)
        else:
            _search(folder, console, reporter, with_json=arguments.json)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; go on with: {_resume_command(folder)}\n")
        raise


def _search(folder: Run, console: Terminal, reporter: Reporter, *, with_json: bool) -> None:
    """One search, its answer and its closing table."""
    closing = explore_run(folder, reporter).closing
    if with_json:
        sys.stdout.write(as_json(closing, folder.config.title, folder.path) + "\n")
    console.say(first_line(closing))
    console.print(closing_table(closing))
    for line in trust(closing):
        console.say(line)
    console.say(f"front, trials and assignments: {folder.path}/")


def _search_each_topology(
    folder: Run, console: Terminal, reporter: Reporter, *, with_json: bool
) -> None:
    """One search per topology, then their fronts together."""
    with folder.held():
        for part in folder.of_each_topology():
            reporter.note(f"topology {part.config.topology}")
            _search(part, console, reporter, with_json=with_json)
        runs = read_runs([folder.path])
        write_together(folder, runs)
    console.print(together_table(runs))
    console.say(f"all fronts together: {folder.path}/")


SCORING = ("finetune", "finetune_epochs", "rung_images", "finetune_members")
LIMITS = (
    *("only", "exact", "tie", "max_distinct", "max_drop", "max_energy", "min_coverage"),
    *("energy_model", "third"),
)
HIDDEN = ("calibration_images", "metric")
"""Settings that no option names."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m dse.search", description=__doc__)
    apart = (*SCORING, *LIMITS, *HIDDEN)
    names = [each.name for each in settings_of(SearchConfig) if each.name not in apart]
    add_settings(parser, SearchConfig, names)
    group = parser.add_argument_group("how candidates are scored")
    add_settings(group, SearchConfig, SCORING)
    _add_file_options(parser)
    group = parser.add_argument_group("what is searched, and within which limits")
    add_settings(group, SearchConfig, LIMITS)
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default under runs/)")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with a stopped run")
    parser.add_argument("--quiet", action="store_true", help="show nothing but errors")
    parser.add_argument(
        "--json", action="store_true", help="print the closing as JSON, one line for each topology"
    )
    return parser


def _add_file_options(parser: Parser) -> None:
    group = parser.add_argument_group(
        "a multiplier of your own",
        "in a file that --multipliers names; a .c or .v file is run, confined",
    )
    for figure in FIGURES:
        flag = f"--{figure.replace('_', '-')}"
        group.add_argument(flag, type=float, metavar="X", help="where the file says none")
    signed = group.add_mutually_exclusive_group()
    signed.add_argument("--signed", dest="signed", action="store_true", default=None)
    signed.add_argument("--unsigned", dest="signed", action="store_false", default=None)
    group.add_argument("--trust", action="store_true", help="take it, whatever it looks like")


def _with_files(given: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Put names in the place of files in ``given``; what a reader must know about them."""
    figures = {f: getattr(arguments, f) for f in FIGURES if getattr(arguments, f) is not None}
    about = {"signed": arguments.signed, "figures": figures}
    lists = {"multipliers": given.get("multipliers", SearchConfig.multipliers)}
    if given.get("only"):
        lists["only"] = given["only"]
    # What is said of one file is said of it wherever it is named.
    with_files = [name for name in lists if files_named(lists[name], catalog)] or ["multipliers"]
    notes: list[str] = []
    for name in with_files:
        layout = Layout(trust=arguments.trust)
        named, more = add_files(lists[name], catalog, layout=layout, **about)
        if name in given:
            given[name] = named
        notes += (note for note in more if note not in notes)
    return notes


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line names."""
    given = given_settings(arguments, SearchConfig)
    if given.get("weights") == "none":
        del given["weights"]
    return located(given)


def _new(arguments: argparse.Namespace, reporter: Reporter) -> Run:
    given = _given(arguments)
    if given.get("arch", SearchConfig.arch) not in ARCHITECTURES:
        given.setdefault("topology", "dense")  # few networks have blocks that can become experts
    if arguments.out is not None:
        Run.check_new(arguments.out)
    for note in _with_files(given, arguments):
        reporter.note(note)
    config = SearchConfig.from_dict(given)
    _check(config, None)
    return Run.create(config, arguments.out)


def _check(config: SearchConfig, databases: Mapping[str, Path] | None) -> None:
    """Refuse what cannot be searched before anything is made or changed."""
    check(config, databases)
    if config.storage:
        open_storage(config.storage).close()


def _resumed(arguments: argparse.Namespace) -> Run:
    """The run to go on with."""
    if arguments.out is not None:
        raise InputError("--out names a new run and --resume an old one; give one of them")
    said = arguments.trust or arguments.signed is not None
    if said or any(getattr(arguments, f) is not None for f in FIGURES):
        raise InputError(
            "a run keeps its multipliers in its folder, figures and signedness too: with --resume "
            "leave out --trust, --signed, --unsigned and figures"
        )
    folder = Run.open(arguments.resume)
    if folder.config.is_in_memory:
        name = folder.config.arch.removeprefix(IN_MEMORY)
        raise InputError(
            f"the network {name} of {folder.path} was in memory only: go on with "
            f"dse.explore(network, data, out={str(folder.path)!r}, resume=True)"
        )
    given = _given(arguments)
    folder.check_settings(given)
    _check(folder.config, folder.databases)
    with folder.held():
        return folder.going_on(given)


def _resume_command(folder: Run) -> str:
    return f"python -m dse.search --resume {quoted(folder.path)}"


if __name__ == "__main__":
    run(main)
