"""Command-line options that say what energy counts, for every command that has them."""

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import luts
from energy._cost import MODELS
from energy._figures import CONVENTIONS, Figures, published_figures, read_figures
from luts.console import Parser
from luts.errors import InputError

MEMORY_OPTIONS = ("weight_memory", "activation_memory", "batch_size")


def add_cost_options(parser: Parser | argparse._ArgumentGroup, *, model: str | None) -> None:
    """Add ``--energy-model``, ``--convention``, ``--figures``, memories and ``--batch-size``.

    Args:
        parser: where to add them.
        model: default of ``--energy-model``.
    """
    add = parser.add_argument
    add("--energy-model", default=model, choices=list(MODELS), help="what energy counts")
    add(
        "--convention",
        choices=list(CONVENTIONS),
        help="how power becomes energy (equal-clock)",
    )
    add("--figures", type=Path, action="append", default=[], metavar="FILE", help="your own, CSV")
    add("--weight-memory", metavar="NAME", help="operation that reads weights (dram)")
    add("--activation-memory", metavar="NAME", help="… and activations (sram_32kb)")
    add("--batch-size", type=positive, metavar="N", help="inputs that share a weight read (1)")


def figures_of(
    options: argparse.Namespace,
    catalog: luts.Catalog = luts.catalog,
    *,
    others: Iterable[str] = (),
) -> Figures:
    """The published figures with the user's in their place.

    Args:
        options: what `add_cost_options` parsed.
        catalog: multipliers and their own figures.
        others: names beside the catalogue's that the user's files may give figures for.

    Raises:
        InputError: a file has faults, or a memory has no figures.
    """
    figures = published_figures(catalog, convention=options.convention or "equal-clock")
    others = tuple(others)
    for path in options.figures:
        figures = read_figures(path, figures, catalog=catalog, others=others)
    given = {name: getattr(options, name) for name in MEMORY_OPTIONS}
    return dataclasses.replace(figures, **{k: v for k, v in given.items() if v is not None})


def check_memories(options: argparse.Namespace, model: str) -> None:
    """Check that options about memories change something in the energy model.

    Raises:
        InputError: it counts no memory.
    """
    for name in MEMORY_OPTIONS:
        if model != "memory" and getattr(options, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} changes nothing in the energy model {model}, which "
                f"counts no memory; --energy-model memory does"
            )


def positive(text: str) -> int:
    """A whole number from 1 up, as argparse converts it."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1 up, not {text!r}")
    return number
