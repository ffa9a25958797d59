"""What a file does not say itself, as options of a command line."""

import argparse

from luts.errors import InputError
from luts.loading._layout import Layout

NAMES = (
    *("symbol", "index_order", "product_offset", "swap_operands"),
    *("parameter", "tie", "time_limit", "trust"),
)


def add_layout_options(group: argparse._ActionsContainer) -> None:
    """Add an option for each field of `Layout`."""
    add = group.add_argument
    add("--symbol", help="which function, module or array")
    add("--index-order", choices=("codes", "values"), help="what a signed table's rows count")
    add(
        "--product-offset",
        type=int,
        metavar="N",
        default=0,
        help="what was added to every product, as 32768 to make signed ones unsigned",
    )
    add("--swap-operands", action="store_true", help="the second operand first")
    for option, metavar, what in (
        ("--parameter", "NAME=N", "value of a Verilog module's parameter; repeatable"),
        ("--tie", "PORT=N", "hold a Verilog input constant; repeatable"),
    ):
        add(option, metavar=metavar, help=what, action="append", default=[])
    add("--time-limit", type=float, metavar="S", help="processor seconds for each step")
    add("--trust", action="store_true", help="take it for 8×8, whatever it looks like")


def layout_of(arguments: argparse.Namespace) -> Layout:
    """What the options say.

    Raises:
        InputError: one is no name with a number, or the layout refuses it.
    """
    limit = {} if arguments.time_limit is None else {"time_limit_s": arguments.time_limit}
    return Layout(
        symbol=arguments.symbol,
        index_order=arguments.index_order,
        product_offset=arguments.product_offset,
        swap_operands=arguments.swap_operands,
        parameters=_numbers("--parameter", arguments.parameter),
        ties=_numbers("--tie", arguments.tie),
        trust=arguments.trust,
        **limit,
    )


def _numbers(option: str, given: list[str]) -> dict[str, int]:
    pairs = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            pairs[name.strip()] = int(number, 0)
        except ValueError:
            raise InputError(f"{option} takes NAME=NUMBER, as in N=8, not {text}") from None
    return pairs
