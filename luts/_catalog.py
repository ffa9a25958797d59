"""The catalogue: multipliers by name, filled by explicit calls, and the arrays of any cut."""

import dataclasses
import re
from collections.abc import Iterator, Mapping

import numpy as np

from luts import _evoapprox
from luts._multiplier import Multiplier
from luts.circuits import PREFIX, array_multiplier, cuts_of, members, name_of_table, nearest
from luts.errors import InputError, suggest


class UnknownMultiplierError(InputError, KeyError):
    """No multiplier has this name; the message lists the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclasses.dataclass(frozen=True)
class Recognition:
    """Which known circuit a table is.

    Attributes:
        known: the multiplier of the catalogue that has this table.
        swapped: the table is the circuit's with first and second operand exchanged.
    """

    known: Multiplier
    swapped: bool

    def __str__(self) -> str:
        others = ", ".join(alias.replace("/", " ", 1) for alias in self.known.aliases)
        name = f"{self.known.name} ({others})" if others else self.known.name
        return f"{name} with its operands exchanged" if self.swapped else name


class Catalog(Mapping[str, Multiplier]):
    """Multipliers by name; ``catalog["mul8s_1L2H"]``, ``catalog["v2022/mul8s_1L2J"]``.

    EvoApproxLib renamed its circuits between its master branch (2019–21) and its branch v2022. A
    bare name is master's, with or without the prefix ``master/``; ``v2022/`` reaches the other
    naming. Iterating and `names` give master's names.

    ``catalog["array:a3b5d0"]`` is the broken-array multiplier with these three cuts
    (`luts.circuits.Cuts`), made when it is asked for: iterating leaves this family out. A member
    that is one of the thirteen keeps its name and published figures.
    """

    def __init__(self) -> None:
        self._multipliers: dict[str, Multiplier] = {}
        self._aliases: dict[str, str] = {}
        self._sets: dict[str, tuple[str, ...]] = {}

    def add(self, multiplier: Multiplier) -> None:
        """Add ``multiplier``.

        A known table under its known name takes the figures given now and keeps its other names.

        Raises:
            InputError: another table is known under its name or under one of its aliases, or one
                of them is already another name of a known multiplier.
        """
        for name in (multiplier.name, *multiplier.aliases):
            cuts_of(name)  # a name of the family that means no circuit is refused
            known = self._find(name)
            if known is None or known == multiplier:
                continue
            if known.sha256 == multiplier.sha256:
                raise InputError(
                    f"the name {name} is already another name of {known.name}; use it as it is"
                )
            raise InputError(
                f"the name {name} already means a circuit with another table (SHA-256 "
                f"{known.sha256[:12]}…, not {multiplier.sha256[:12]}…); give it another name"
            )
        before = self._multipliers.get(multiplier.name, multiplier)
        aliases = tuple(dict.fromkeys((*before.aliases, *multiplier.aliases)))
        if aliases != multiplier.aliases:
            multiplier = dataclasses.replace(multiplier, aliases=aliases)
        self._multipliers[multiplier.name] = multiplier
        self._aliases.update(dict.fromkeys(multiplier.aliases, multiplier.name))

    def define_set(self, set_name: str, names: tuple[str, ...]) -> None:
        """Let ``set_name`` stand for ``names``.

        Raises:
            UnknownMultiplierError: a name is not in the catalogue.
        """
        self._sets[set_name] = tuple(self[name].name for name in names)

    def define_arrays(self) -> None:
        """Let ``arrays`` stand for the arrays that no other one dominates.

        87 of the 204: those with less estimated power or less expected squared error than any other
        in one of 44 cases, operand order free (`luts.circuits.undominated` says which).
        """
        # Not by `define_set`: their tables wait until the set is asked for.
        self._sets["arrays"] = tuple(
            member.known_as or name for name, member in members().items() if member.undominated
        )

    def __getitem__(self, name: str) -> Multiplier:
        multiplier = self._find(name)
        if multiplier is None:
            raise self._unknown("multiplier", name, [])
        return multiplier

    def _unknown(self, kind: str, name: str, sets: list[str]) -> UnknownMultiplierError:
        try:
            cuts_of(name)
        except InputError as error:
            return UnknownMultiplierError(str(error))
        if cuts := re.search(r"a\d+b\d+d\d+", name):
            hint = f"did you mean {nearest(cuts.group())}?"
        elif (newer := f"v2022/{name}") in self._aliases:
            hint = f"did you mean {newer} ({self._aliases[newer]} on the master branch)?"
        else:
            hint = suggest(name, [*sets, *self._multipliers, *self._aliases])
        return UnknownMultiplierError(f"unknown {kind} {name!r}; {hint}")

    def _find(self, name: str) -> Multiplier | None:
        bare = name.removeprefix("master/")
        found = self._multipliers.get(self._aliases.get(bare, bare))
        return found or (self._array(name) if name.startswith(PREFIX) else None)

    def _array(self, name: str) -> Multiplier | None:
        """The circuit with the cuts in ``name``, under the first name that it has here."""
        try:
            cuts = cuts_of(name)
        except InputError:
            return None
        if cuts is None:
            return None
        published = self._multipliers.get(members()[cuts.name].known_as)
        return published or array_multiplier(cuts.canonical)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._multipliers)

    def __len__(self) -> int:
        return len(self._multipliers)

    def by_table(self, sha256: str) -> Multiplier | None:
        """The multiplier whose table has this SHA-256, whatever its name."""
        array = name_of_table(sha256)
        return self._own_by_table(sha256) or (self[array] if array else None)

    def _own_by_table(self, sha256: str) -> Multiplier | None:
        return next((m for m in self._multipliers.values() if m.sha256 == sha256), None)

    def recognise(self, multiplier: Multiplier) -> Recognition | None:
        """Which known circuit has the table of ``multiplier``, whatever its name, if one has.

        A circuit with its operands exchanged goes before an array that has no other name.
        """
        swapped = dataclasses.replace(multiplier, truth_table=multiplier.truth_table.T)
        for find in (self._own_by_table, self.by_table):
            for candidate in (multiplier, swapped):
                known = find(candidate.sha256)
                if known is not None:
                    return Recognition(known, swapped=candidate is swapped)
        return None

    def broken_promise(self, multiplier: Multiplier) -> str | None:
        """One line where the name of ``multiplier`` is a known circuit's and its table is not.

        A name that means different circuits in the library's two versions promises either.
        """
        names = (multiplier.name, f"v2022/{multiplier.name}")
        promised = [known for known in map(self._find, names) if known is not None]
        if not promised or any(known.sha256 == multiplier.sha256 for known in promised):
            return None
        differing = [
            (int(np.count_nonzero(known.truth_table != multiplier.truth_table)), known.name)
            for known in promised
        ]
        entries, name = min(differing)
        where = f"{entries:,} of 65,536 entries" if entries else "the signedness of its operands"
        line = f"{multiplier.name} is not the circuit that its name promises: it differs from "
        line += f"{name} in {where}"
        recognised = self.recognise(multiplier)
        return f"{line}; it is {recognised}" if recognised else line

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names that stand for several multipliers."""
        return tuple(self._sets)

    def names(self, selection: str = "all") -> tuple[str, ...]:
        """Names in ``selection``, from most to least power.

        Args:
            selection: ``"all"``, the name of a set (``"paper"``, ``"paper_mre"``, ``"mul8s"``,
                ``"arrays"``), or names of sets and multipliers separated by commas or ``+``.

        Raises:
            UnknownMultiplierError: no set and no multiplier has that name.
        """
        if selection == "all":
            chosen = tuple(self._multipliers)
        elif selection in self._sets:
            chosen = self._sets[selection]
        else:
            chosen = tuple(self._names_in_list(selection))
        return tuple(sorted(set(chosen), key=lambda name: (-self[name].power_mw, name)))

    def _words(self, text: str) -> Iterator[str]:
        """Names in a list; a ``+`` inside a known name does not part it."""
        for word in (word.strip() for word in text.split(",")):
            known = word in self._sets or word in self
            yield from [word] if known else (part.strip() for part in word.split("+"))

    def _names_in_list(self, text: str) -> list[str]:
        chosen: list[str] = []
        for word in self._words(text):
            if word in self._sets:
                chosen += self._sets[word]
            elif word in self:
                chosen.append(self[word].name)
            else:
                raise self._unknown("multiplier or set", word, list(self._sets))
        return chosen

    def notices(self, typed: str) -> list[str]:
        """What a reader must know of the multipliers in ``typed``.

        One line for each name that means other circuits in other library versions, and one where
        figures are estimated.

        Args:
            typed: what a user wrote, names separated by commas or ``+``.
        """
        lines = []
        for word in self._words(typed):
            if word in self._multipliers and f"v2022/{word}" in self._aliases:
                other = self[f"v2022/{word}"]
                mine = ", ".join(self[word].aliases)
                lines.append(
                    f"note: {word} is read as the circuit of EvoApproxLib's master branch "
                    f"({mine}); in its branch v2022 that name means master's {other.name} "
                    f"(write v2022/{word} for it)"
                )
        return [*lines, *self._estimated(typed)]

    def _estimated(self, typed: str) -> list[str]:
        words = [word for word in self._words(typed) if word in self._sets or word in self]
        chosen = [self[name] for name in (self.names(",".join(words)) if words else ())]
        errors = [m.figures_error_pct.power_mw for m in chosen if m.figures_error_pct]
        if not errors:
            return []
        span = " to ".join(f"{error:.1f}" for error in sorted({min(errors), max(errors)}))
        return [
            f"note: power, area and delay of {len(errors)} of these {len(chosen)} multipliers are "
            f"estimated from their netlists, not published: power ±{span} %"
        ]


def evoapprox_catalog() -> Catalog:
    """A new catalogue that holds EvoApproxLib's thirteen signed 8×8 circuits."""
    made = Catalog()
    for multiplier in _evoapprox.circuits():
        made.add(multiplier)
    made.define_set("mul8s", tuple(made))
    made.define_set("paper", tuple(f"mul8s_{name}" for name in _evoapprox.PAPER))
    made.define_set("paper_mre", tuple(f"mul8s_{name}" for name in _evoapprox.PAPER_MRE))
    made.define_arrays()
    return made


catalog = evoapprox_catalog()
"""The catalogue that every command uses."""
