"""``python -m dse.search``: which approximate multiplier each layer and each expert should use."""

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from dse._config import ALL, SearchConfig
from dse._explore import explore_run
from dse.results import Run, closing_table, read_runs, together_table, trust, write_together
from dse.study import check, open_storage
from energy import MODELS
from luts import catalog
from luts.console import Parser, Reporter, indices, quieten_libraries, run
from luts.errors import InputError
from models import ARCHITECTURES, TOPOLOGIES

RESUMABLE = ("trials", "workers")


def main() -> None:
    """Search one topology or all, for what the command line asks."""
    arguments = _parser().parse_args()
    quieten_libraries()
    reporter = Reporter(quiet=arguments.quiet)
    folder = _resumed(arguments) if arguments.resume else _new(arguments)
    for notice in catalog.notices(folder.config.multipliers):
        reporter.note(notice)
    console = Console(quiet=arguments.quiet)
    if not console.is_terminal:
        console = Console(width=150, quiet=arguments.quiet)
    try:
        if folder.config.topology == ALL:
            _search_each_topology(folder, console, reporter)
        else:
            _search(folder, console, reporter)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; go on with: {_resume_command(folder)}\n")
        raise


def _search(folder: Run, console: Console, reporter: Reporter) -> None:
    """One search, and its closing table."""
    closing = explore_run(folder, reporter).closing
    console.print(closing_table(closing))
    for line in trust(closing):
        console.print(line, highlight=False)
    console.print(f"front, trials and assignments: {folder.path}/", highlight=False)


def _search_each_topology(folder: Run, console: Console, reporter: Reporter) -> None:
    """One search per topology, then their fronts together."""
    for part in folder.of_each_topology():
        reporter.note(f"topology {part.config.topology}")
        _search(part, console, reporter)
    runs = read_runs([folder.path])
    write_together(folder, runs)
    console.print(together_table(runs))
    console.print(f"all fronts together: {folder.path}/", highlight=False)


def _parser() -> argparse.ArgumentParser:
    default = SearchConfig()
    parser = Parser(prog="python -m dse.search", description=__doc__)
    add = parser.add_argument
    add("--arch", help=f"architecture (default {default.arch})")
    add(
        "--topology",
        help=f"{', '.join(TOPOLOGIES)}, or all (default {default.topology}; dense for another's "
        "network)",
    )
    add("--dataset", help=f"data set (default {default.dataset})")
    add("--data-root", metavar="DIR", help="folder of published archives (default: the cache)")
    add("--weights", metavar="PATH|URL|none", help="start from these, dense or of the topology")
    add("--pretrained", action="store_true", default=None, help="start from the published weights")
    add("--objective", help=f"what to optimise (default {default.objective})")
    add("--trials", type=int, help=f"assignments to score (default {default.trials})")
    add("--sampler", help=f"who proposes assignments (default {default.sampler})")
    add(
        "--multipliers",
        metavar="SET|NAME,…",
        help=f"{', '.join(catalog.set_names)}, or names (default {default.multipliers})",
    )
    add("--train-epochs", type=float, help="of the dense float network (default: its recipe's)")
    add("--experts", type=int, help=f"experts in a layer (default {default.experts})")
    add("--expert-blocks", type=indices, metavar="I,J,…", help="blocks that become experts")
    add("--top-k", type=int, help=f"experts that work on one item (default {default.top_k})")
    add(
        "--cluster-features",
        help=f"raw or unit: what clusters are made of (default {default.cluster_features})",
    )
    add("--image-size", type=int, help=f"pixels (default {default.image_size})")
    add("--patch-size", type=int, help="pixels of a transformer's patch (default: its own)")
    _add_fidelity(parser)
    _add_constraints(parser)
    add("--seed", type=int, help=f"of everything random (default {default.seed})")
    add("--out", type=Path, metavar="DIR", help="run folder to make (default under runs/)")
    add("--resume", type=Path, metavar="RUN", help="go on with a run that was stopped")
    add("--workers", type=int, help=f"processes that score (default {default.workers})")
    add("--storage", metavar="URL", help="database server for many machines, with --study")
    add("--study", metavar="NAME", help="the study there that all machines work on")
    add("--quiet", action="store_true", help="show nothing but errors")
    return parser


def _add_fidelity(parser: argparse.ArgumentParser) -> None:
    default = SearchConfig()
    add = parser.add_argument_group("how candidates are scored").add_argument
    add(
        "--finetune",
        metavar="WHICH",
        help=f"every, promising, front or none of the candidates (default {default.finetune})",
    )
    add(
        "--finetune-epochs",
        type=float,
        help=f"epochs of fine-tuning, may be a fraction (default {default.finetune_epochs:g})",
    )
    add(
        "--rung-images",
        type=int,
        metavar="N",
        help=f"validation images that every candidate is scored on, the promising ones on all; "
        f"0 for all (default {default.rung_images})",
    )
    add(
        "--finetune-members",
        type=int,
        metavar="N",
        help=f"members of the final front that are fine-tuned, unless for none, and tested "
        f"(default {default.finetune_members})",
    )


def _add_constraints(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is searched, and within which limits").add_argument
    add("--only", metavar="SET|NAME,…", help="cut the multipliers down to these")
    add("--exact", action="append", metavar="PATTERN", help="sites that stay exact; repeatable")
    add("--tie", help="sites that share a choice: none, expert, layer or block (default none)")
    add("--max-distinct", type=int, metavar="N", help="most circuits in the network")
    add(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="with --objective energy: accuracy given up",
    )
    add("--max-energy", type=float, metavar="REL", help="with --objective accuracy: energy spent")
    add("--energy-model", help=f"what energy counts: {', '.join(MODELS)} (default multipliers)")
    add("--third", help="minimise delay or area of the worst circuit as well")


def _given(arguments: argparse.Namespace) -> dict[str, object]:
    """The settings that the command line names."""
    fields = {field.name for field in dataclasses.fields(SearchConfig)}
    given = {k: v for k, v in vars(arguments).items() if k in fields and v is not None}
    if given.get("weights") == "none":
        del given["weights"]
    if "exact" in given:
        given["exact"] = tuple(given["exact"])
    return given


def _new(arguments: argparse.Namespace) -> Run:
    given = _given(arguments)
    if given.get("arch", SearchConfig.arch) not in ARCHITECTURES:
        given.setdefault("topology", "dense")  # few networks have blocks that can become experts
    config = dataclasses.replace(SearchConfig(), **given)  # type: ignore[arg-type]
    if arguments.out is not None:
        Run.check_new(arguments.out)
    _check(config, None)
    return Run.create(config, arguments.out)


def _check(config: SearchConfig, databases: Mapping[str, Path] | None) -> None:
    """Refuse what cannot be searched before anything is made or changed."""
    check(config, databases)
    if config.storage:
        open_storage(config.storage).close()


def _resumed(arguments: argparse.Namespace) -> Run:
    """The run to go on with; its budget of trials may be raised, nothing else may change."""
    if arguments.out is not None:
        raise InputError("--out names a new run and --resume an old one; give one of them")
    folder = Run.open(arguments.resume)
    given = _given(arguments)
    for name, value in given.items():
        kept = getattr(folder.config, name)
        if name not in RESUMABLE and value != kept:
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"{flag} {value} differs from the run's own {kept}; a resumed run keeps its "
                f"settings (only --trials and --workers may change): leave {flag} away"
            )
    _check(folder.config, folder.databases)
    trials = given.get("trials", folder.config.trials)
    folder = folder.with_trials(int(str(trials)))
    workers = int(str(given.get("workers", folder.config.workers)))
    return Run(folder.path, dataclasses.replace(folder.config, workers=workers))


def _resume_command(folder: Run) -> str:
    return f"python -m dse.search --resume {folder.path}"


if __name__ == "__main__":
    run(main)
