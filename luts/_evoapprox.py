"""The thirteen signed 8×8 circuits of EvoApproxLib's Pareto sets.

Each is a broken-array multiplier, so three break positions generate its table bit for bit; the
power, area and delay are those of the library's own headers (45 nm, one clock).

Source: EvoApproxLib, https://github.com/ehw-fit/evoapproxlib (MIT). V. Mrazek, R. Hrbacek,
Z. Vasicek, L. Sekanina, "EvoApprox8b", DATE 2017, doi:10.23919/DATE.2017.7926993; V. Mrazek et al.,
IEEE TVLSI 26(11), 2018, doi:10.1109/TVLSI.2018.2856362.
"""

import csv
import functools
from importlib import resources

from luts import families
from luts._multiplier import Multiplier
from luts.circuits import Cuts

PUBLISHED_CSV = "data/evoapprox_mul8s.csv"

PAPER = ("1KV8", "1KVA", "1KVB", "1KR6", "1L2H", "1L2D", "1L1G", "1KR3")
"""The eight circuits of the library's `pwr_mae` set, the exact one included."""

PAPER_MRE = ("1KV8", "1KVA", "1KVB", "1KRC", "1KVL", "1L2D", "1L1G", "1KR3")
"""The eight circuits of the library's `pwr_mre` set, the exact one included."""

EXACT = "mul8s_1KV8"
"""The exact circuit, by its name on the library's master branch."""


def published_rows() -> list[dict[str, str]]:
    """Rows of the figures file, one per circuit, from most to least power."""
    text = resources.files("luts").joinpath(PUBLISHED_CSV).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def names_by_cuts() -> dict[Cuts, str]:
    """Which broken-array multiplier each of the thirteen is; the cuts are canonical."""
    return {
        Cuts(*(int(row[cut]) for cut in ("break_a", "break_b", "break_diagonal"))).canonical: row[
            "name"
        ]
        for row in published_rows()
    }


def circuits() -> list[Multiplier]:
    """The thirteen multipliers, from most to least power; the alias is the v2022 name."""
    return [
        Multiplier(
            name=row["name"],
            truth_table=families.broken_array(
                break_a=int(row["break_a"]),
                break_b=int(row["break_b"]),
                break_diagonal=int(row["break_diagonal"]),
            ),
            power_mw=float(row["power_mw"]),
            area_um2=float(row["area_um2"]),
            delay_ns=float(row["delay_ns"]),
            source=row["source"],
            aliases=(f"v2022/{row['name_v2022']}",),
            figures_from="published",
        )
        for row in published_rows()
    ]
