"""Which multiplier works at which site: the point that is searched."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from luts import EXACT, Arithmetic, Catalog, Multiplier, catalog
from luts.circuits import PREFIX
from luts.errors import InputError, suggest
from models.emulation._site import Site

VERSION = 2
READABLE = (1, VERSION)
"""Version 1 knew no rounded operands."""

_ORDERS = {"normal": False, "swapped": True}
_OPERANDS = {"cut": False, "rounded": True}


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is chosen at one site.

    Attributes:
        multiplier: the circuit's name in the catalogue.
        swapped: the weight goes to the circuit's first port: ``T[w, x]``.
        rounded: ports that ignore low bits of their operands get codes rounded to the bits that
            they look at (`luts.Arithmetic`), where otherwise these bits are cut.
    """

    multiplier: str
    swapped: bool = False
    rounded: bool = False

    def __str__(self) -> str:
        words = ["swapped"] * self.swapped + ["rounded"] * self.rounded
        return self.multiplier + (f" ({', '.join(words)})" if words else "")

    def arithmetic(self, catalog: Catalog = catalog) -> Arithmetic:
        """What a site with this choice multiplies with.

        Raises:
            UnknownMultiplierError: the multiplier is not in the catalogue.
        """
        return Arithmetic(catalog[self.multiplier], self.swapped, self.rounded)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A choice for every site, and the table that each name stands for.

    Attributes:
        choices: site name → choice.
        tables: multiplier name → SHA-256 of its table.

    Raises:
        InputError: a multiplier in ``choices`` has no table in ``tables``.
    """

    choices: Mapping[str, Choice]
    tables: Mapping[str, str]

    def __post_init__(self) -> None:
        used = {choice.multiplier for choice in self.choices.values()}
        missing = sorted(used - set(self.tables))
        if missing:
            raise InputError(
                f"an assignment names the table of every multiplier; none for {missing}"
            )
        object.__setattr__(self, "choices", dict(self.choices))
        object.__setattr__(self, "tables", {n: self.tables[n] for n in sorted(used)})

    @classmethod
    def of(cls, choices: Mapping[str, Choice], catalog: Catalog = catalog) -> "Assignment":
        """An assignment with the tables of ``catalog``.

        Raises:
            UnknownMultiplierError: a multiplier is not in the catalogue.
        """
        tables = {c.multiplier: catalog[c.multiplier].sha256 for c in choices.values()}
        return cls(choices=choices, tables=tables)

    @classmethod
    def uniform(
        cls,
        sites: Iterable[Site],
        multiplier: str,
        *,
        swapped: bool = False,
        rounded: bool = False,
        approximate_routers: bool = False,
        catalog: Catalog = catalog,
    ) -> "Assignment":
        """One multiplier at every site; routers stay exact unless asked.

        Raises:
            UnknownMultiplierError: the multiplier is not in the catalogue.
        """
        chosen = Choice(catalog[multiplier].name, swapped, rounded)
        exact = Choice(EXACT)
        choices = {
            site.name: exact if site.kind == "router" and not approximate_routers else chosen
            for site in sites
        }
        return cls.of(choices, catalog)

    def arithmetic(self, site: str, catalog: Catalog = catalog) -> Arithmetic:
        """What ``site`` multiplies with, the table verified.

        Raises:
            InputError: the catalogue's table under that name is another one.
        """
        self.multiplier(site, catalog)
        return self.choices[site].arithmetic(catalog)

    def multiplier(self, site: str, catalog: Catalog = catalog) -> Multiplier:
        """The multiplier at ``site``, its table verified.

        Raises:
            InputError: the catalogue's table under that name is another one.
        """
        name = self.choices[site].multiplier
        multiplier = catalog[name]
        if multiplier.sha256 != self.tables[name]:
            raise InputError(
                f"the assignment's {name} has the table {self.tables[name][:12]}…, the catalogue's "
                f"has {multiplier.sha256[:12]}…; load the multiplier that the assignment was made "
                "with"
            )
        return multiplier

    def check(self, sites: Iterable[Site]) -> None:
        """Check the assignment against a network's sites.

        Raises:
            InputError: a site has no choice, or a choice has no site.
        """
        names = [site.name for site in sites]
        missing = [name for name in names if name not in self.choices]
        if missing:
            raise InputError(
                f"the assignment has no choice for site {missing[0]!r}"
                + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            )
        unknown = [name for name in self.choices if name not in set(names)]
        if unknown:
            raise InputError(
                f"the assignment names a site that the network does not have: {unknown[0]!r}; "
                f"{suggest(unknown[0], names)}"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of choices and tables, the same whatever their order, in hexadecimal."""
        parts = sorted(
            (site, self.tables[c.multiplier], c.swapped, c.rounded)
            for site, c in self.choices.items()
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_json(self) -> str:
        """As JSON text."""
        record = {
            "version": VERSION,
            "multipliers": {name: {"sha256": sha} for name, sha in self.tables.items()},
            "sites": {
                site: {
                    "multiplier": choice.multiplier,
                    "operand_order": "swapped" if choice.swapped else "normal",
                    "operands": "rounded" if choice.rounded else "cut",
                }
                for site, choice in self.choices.items()
            },
        }
        return json.dumps(record, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Assignment":
        """From JSON text; an array under other cuts that leave the same circuit gets its one name.

        Raises:
            InputError: a name of the array family that means no circuit, or the text is not what
                `to_json` writes, or of another version.
        """
        try:
            record: dict[str, Any] = json.loads(text)
            if record["version"] not in READABLE:
                raise InputError(
                    f"assignment of version {record['version']}; this program reads "
                    f"{' and '.join(map(str, READABLE))}"
                )
            choices = {site: _choice(entry) for site, entry in record["sites"].items()}
            tables = {_named(name): str(m["sha256"]) for name, m in record["multipliers"].items()}
            return cls(choices=choices, tables=tables)
        except InputError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"not an assignment ({error!r}); a run's assignments/*.json are"
            ) from error

    @classmethod
    def read(cls, path: Path) -> "Assignment":
        """From a JSON file.

        Raises:
            InputError: the file cannot be read or is not an assignment.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the assignment {path}: {error}") from error
        return cls.from_json(text)


def _named(multiplier: str) -> str:
    """The one name of an array that several names mean; any other name as it is."""
    return catalog[multiplier].name if multiplier.startswith(PREFIX) else multiplier


def _choice(entry: Mapping[str, Any]) -> Choice:
    return Choice(
        _named(str(entry["multiplier"])),
        _ORDERS[entry["operand_order"]],
        _OPERANDS[entry.get("operands", "cut")],
    )
