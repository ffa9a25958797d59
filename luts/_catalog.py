"""The catalogue: multipliers by name, filled by explicit calls."""

from collections.abc import Iterator, Mapping

from luts import _evoapprox
from luts._multiplier import Multiplier
from luts.errors import InputError, suggest


class UnknownMultiplierError(InputError, KeyError):
    """No multiplier has this name; the message lists the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


class Catalog(Mapping[str, Multiplier]):
    """Multipliers by name; ``catalog["mul8s_1L2H"]``, ``catalog["v2022/mul8s_1L2J"]``.

    EvoApproxLib renamed its circuits between its master branch (2019–21) and its branch v2022. A
    bare name is master's, with or without the prefix ``master/``; ``v2022/`` reaches the other
    naming. Iterating and `names` give master's names.
    """

    def __init__(self) -> None:
        self._multipliers: dict[str, Multiplier] = {}
        self._aliases: dict[str, str] = {}
        self._sets: dict[str, tuple[str, ...]] = {}

    def add(self, multiplier: Multiplier) -> None:
        """Add ``multiplier``.

        Raises:
            InputError: another table is known under its name or under one of its aliases.
        """
        for name in (multiplier.name, *multiplier.aliases):
            known = self._find(name)
            if known is not None and known != multiplier:
                raise InputError(
                    f"the name {name} already means a circuit with another table (SHA-256 "
                    f"{known.sha256[:12]}…, not {multiplier.sha256[:12]}…); give it another name"
                )
        self._multipliers[multiplier.name] = multiplier
        self._aliases.update(dict.fromkeys(multiplier.aliases, multiplier.name))

    def define_set(self, set_name: str, names: tuple[str, ...]) -> None:
        """Let ``set_name`` stand for ``names``.

        Raises:
            UnknownMultiplierError: a name is not in the catalogue.
        """
        self._sets[set_name] = tuple(self[name].name for name in names)

    def __getitem__(self, name: str) -> Multiplier:
        found = self._find(name)
        if found is None:
            known = [*self._multipliers, *self._aliases]
            raise UnknownMultiplierError(f"unknown multiplier {name!r}; {suggest(name, known)}")
        return found

    def _find(self, name: str) -> Multiplier | None:
        bare = name.removeprefix("master/")
        return self._multipliers.get(self._aliases.get(bare, bare))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._multipliers)

    def __len__(self) -> int:
        return len(self._multipliers)

    def by_table(self, sha256: str) -> Multiplier | None:
        """The multiplier whose table has this SHA-256, whatever its name."""
        return next((m for m in self._multipliers.values() if m.sha256 == sha256), None)

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names that stand for several multipliers."""
        return tuple(self._sets)

    def names(self, selection: str = "all") -> tuple[str, ...]:
        """Names in ``selection``, from most to least power.

        Args:
            selection: ``"all"``, the name of a set (``"paper"``, ``"paper_mre"``, ``"mul8s"``), or
                multipliers' names separated by commas.

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

    def _names_in_list(self, text: str) -> list[str]:
        chosen: list[str] = []
        for word in (word.strip() for word in text.split(",")):
            if word in self._sets:
                chosen += self._sets[word]
            elif word in self:
                chosen.append(self[word].name)
            else:
                known = [*self._sets, *self._multipliers, *self._aliases]
                raise UnknownMultiplierError(
                    f"unknown multiplier or set {word!r}; {suggest(word, known)}"
                )
        return chosen

    def notices(self, typed: str) -> list[str]:
        """One line for each name in ``typed`` that means other circuits in other library versions.

        Args:
            typed: what a user wrote, names separated by commas.
        """
        lines = []
        for word in (word.strip() for word in typed.split(",")):
            if word in self._multipliers and f"v2022/{word}" in self._aliases:
                other = self[f"v2022/{word}"]
                mine = ", ".join(self[word].aliases)
                lines.append(
                    f"note: {word} is read as the circuit of EvoApproxLib's master branch "
                    f"({mine}); in its branch v2022 that name means master's {other.name} "
                    f"(write v2022/{word} for it)"
                )
        return lines


def evoapprox_catalog() -> Catalog:
    """A new catalogue that holds EvoApproxLib's thirteen signed 8×8 circuits."""
    made = Catalog()
    for multiplier in _evoapprox.circuits():
        made.add(multiplier)
    made.define_set("mul8s", tuple(made))
    made.define_set("paper", tuple(f"mul8s_{name}" for name in _evoapprox.PAPER))
    made.define_set("paper_mre", tuple(f"mul8s_{name}" for name in _evoapprox.PAPER_MRE))
    return made


catalog = evoapprox_catalog()
"""The catalogue that every command uses."""
