"""Settings: what is read equals what was written, and every fault is named at once."""

import argparse
import dataclasses
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luts.errors import InputError
from luts.settings import (
    add_settings,
    check_settings,
    given_settings,
    read_settings,
    setting,
    settings_of,
    to_toml,
)

SIDES = ("left", "right")


@dataclasses.dataclass(frozen=True)
class Inner:
    epochs: Annotated[float, setting("passes over the images", ge=0, le=100)]
    rate: Annotated[float, setting("share", ge=0, lt=1)] = 0.5

    def __post_init__(self):
        check_settings(self)
        if self.epochs == 13:
            raise InputError("epochs are never 13: take 12 or 14")


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    trials: Annotated[int, setting("assignments to score", ge=1, metavar="N")] = 60
    size: Annotated[float, setting("of the image", unit="px", gt=0)] = 32.0
    goal: Annotated[Literal["pareto", "energy"], setting("what is minimised")] = "pareto"
    third: Literal["delay", "area"] | None = None
    side: Annotated[str, setting("one of two", choices=SIDES)] = "left"
    sides: Annotated[tuple[str, ...], setting("some of two", choices=SIDES)] = ()
    blocks: Annotated[tuple[int, ...], setting("indices of blocks", ge=0)] = ()
    most: Annotated[int | None, setting("at most 100 %", ge=1)] = None
    weights: str | Path = ""
    root: Path | None = None
    flag: bool = False
    on: bool = True
    inner: Inner | None = None
    parts: tuple[Inner, ...] = ()
    named: Mapping[str, Inner] = dataclasses.field(default_factory=dict)
    words: frozenset[str] = frozenset()


GIVEN = {"name": "a"}
COUNTS = st.integers(1, 2**40)
INNER = st.builds(Inner, st.floats(0, 12), st.floats(0, 0.99))
TEXTS = st.text(max_size=8)
OUTER = st.builds(
    Outer,
    name=TEXTS,
    trials=COUNTS,
    size=st.floats(1e-9, 1e9) | COUNTS,
    goal=st.sampled_from(["pareto", "energy"]),
    third=st.sampled_from(["delay", "area", None]),
    side=st.sampled_from(SIDES),
    sides=st.lists(st.sampled_from(SIDES)).map(tuple),
    blocks=st.lists(st.integers(0, 99)).map(tuple),
    most=COUNTS | st.none(),
    weights=TEXTS,
    root=st.sampled_from([None, Path("a/b"), Path("/")]),
    flag=st.booleans(),
    on=st.booleans(),
    inner=INNER | st.none(),
    parts=st.lists(INNER, max_size=3).map(tuple),
    named=st.dictionaries(TEXTS, INNER, max_size=3),
    words=st.frozensets(TEXTS, max_size=3),
)


def complaint(values, cls=Outer, title="an outer"):
    with pytest.raises(InputError) as caught:
        read_settings(cls, values, title=title)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(OUTER)
def test_what_is_written_as_toml_is_read_back_equal(instance):
    text = to_toml(instance, "outer")
    assert read_settings(Outer, tomllib.loads(text)["outer"], title="an outer") == instance


@given(OUTER)
def test_fields_as_plain_values_are_read_back_equal(instance):
    values = dataclasses.asdict(instance)
    assert read_settings(Outer, values, title="an outer") == instance
    # … and fields that hold dataclasses may be given as such.
    assert read_settings(Outer, vars(instance), title="an outer") == instance


def test_toml_says_what_each_key_does_and_in_which_unit():
    lines = to_toml(Outer("a", blocks=(1, 2)), "outer").splitlines()
    assert lines[0] == "[outer]"
    assert "size = 32.0  # of the image (px)" in lines
    assert "blocks = [1, 2]  # indices of blocks" in lines
    assert 'name = "a"' in lines
    assert not any(line.startswith("most") for line in lines)  # None is left out


def test_types_are_those_of_the_fields():
    values = {"name": "a", "size": 3, "blocks": [1, 2], "root": "r", "weights": Path("w")}
    read = read_settings(Outer, values, title="an outer")
    assert type(read.size) is float and read.size == 3
    assert read.blocks == (1, 2) and read.root == Path("r") and read.weights == "w"
    read = read_settings(Outer, GIVEN | {"trials": np.int64(7)}, title="an outer")
    assert type(read.trials) is int and read.trials == 7


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"trials": "60"}, "trials is a whole number from 1 up, not '60'"),
        ({"trials": 60.0}, "trials is a whole number from 1 up, not 60.0"),
        ({"trials": True}, "trials is a whole number from 1 up, not True"),
        ({"trials": None}, "trials is a whole number from 1 up, not None"),
        ({"trials": 0}, "trials is a whole number from 1 up, not 0"),
        ({"trials": np.int64(0)}, "trials is a whole number from 1 up, not np.int64(0)"),
        ({"size": 0}, "size is a positive number, not 0"),
        ({"size": "32"}, "size is a positive number, not '32'"),
        ({"size": float("inf")}, "size is a positive finite number, not inf"),
        ({"size": float("nan")}, "size is a positive finite number, not nan"),
        ({"name": 3}, "name is a text, not 3"),
        ({"weights": 3}, "weights is a text, not 3"),
        ({"root": 3}, "root is a path, not 3"),
        ({"flag": 1}, "flag is true or false, not 1"),
        ({"flag": "yes"}, "flag is true or false, not 'yes'"),
        ({"goal": "paretto"}, "unknown goal 'paretto': did you mean pareto?"),
        ({"goal": 3}, "goal is one of pareto, energy, not 3"),
        ({"third": "are"}, "unknown third 'are': did you mean area?"),
        ({"side": "lefd"}, "unknown side 'lefd': did you mean left?"),
        ({"sides": ["left", "rigt"]}, "unknown sides 'rigt': did you mean right?"),
        ({"sides": "left"}, "sides is a list of some of left, right, not 'left'"),
        ({"sides": [3]}, "sides is a list of some of left, right, not [3]"),
        ({"blocks": 3}, "blocks is a list of whole numbers from 0 up, not 3"),
        ({"blocks": [1, -1]}, "blocks is a list of whole numbers from 0 up, not [1, -1]"),
        ({"blocks": [1, "2"]}, "blocks is a list of whole numbers from 0 up, not [1, '2']"),
        ({"most": 0}, "most is a whole number from 1 up, not 0"),
        ({"tirals": 3}, "no setting 'tirals': did you mean trials or third?"),
        ({"inner": 3}, "inner is a table of settings, not 3"),
        ({"inner": {}}, "inner.epochs is missing (passes over the images)"),
        ({"inner": {"epochs": 101}}, "inner.epochs is a number from 0 to 100, not 101"),
        (
            {"inner": {"epochs": 1, "rate": 1}},
            "inner.rate is a number from 0 to below 1, not 1",
        ),
        ({"inner": {"epochs": 1, "rat": 1}}, "no setting 'inner.rat': did you mean rate?"),
        ({"parts": [{"epochs": 1}, {}]}, "parts[1].epochs is missing (passes over the images)"),
        ({"parts": [3]}, "parts[0] is a table of settings, not 3"),
        ({"named": {"x": {"epochs": -1}}}, "named.x.epochs is a number from 0 to 100, not -1"),
        ({"named": 3}, "named is a table, not 3"),
        ({"words": [3]}, "words is a list of texts, not [3]"),
        ({"trials": ...}, "trials is a whole number from 1 up, not Ellipsis"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_fault_is_named_with_key_rule_and_value(values, sentence):
    assert complaint(GIVEN | values) == f"an outer: {sentence}"


def test_all_faults_are_named_at_once():
    values = {
        "trials": "60",
        "size": -1,
        "goal": "x",
        "inner": {"epochs": 13, "rate": 0.1},
        "sise": 3,
    }
    parts = complaint(values).removeprefix("an outer: ").split("; ")
    assert parts == [
        "name is missing",
        "trials is a whole number from 1 up, not '60'",
        "size is a positive number, not -1",
        "unknown goal 'x': known: pareto, energy",
        "epochs are never 13: take 12 or 14",
        "no setting 'sise': did you mean size or side or sides?",
    ]


def test_what_the_class_refuses_comes_through_unchanged():
    for values, cls in (({"epochs": 13}, Inner), (GIVEN | {"inner": {"epochs": 13}}, Outer)):
        assert complaint(values, cls) == "epochs are never 13: take 12 or 14"


def test_only_a_table_is_read():
    assert complaint([1]) == "an outer is a table of settings, not [1]"


@pytest.mark.parametrize(
    "value", ["a\n" * 10_000, 10**400, [1] * 1_000], ids=["text", "number", "list"]
)
def test_a_long_value_is_shortened_and_stays_on_one_line(value):
    assert len(complaint(GIVEN | {"size": value})) < 200


def test_direct_construction_is_plain_python_and_checked_alike():
    assert Inner(1).epochs == 1
    with pytest.raises(InputError) as caught:
        Inner("1", rate=1)
    assert str(caught.value) == (
        "epochs is a number from 0 to 100, not '1'; rate is a number from 0 to below 1, not 1"
    )
    with pytest.raises(InputError, match="epochs is a finite number from 0 to 100, not nan"):
        dataclasses.replace(Inner(1), epochs=float("nan"))


def test_metadata_of_every_field():
    known = {each.name: each for each in settings_of(Outer)}
    assert list(known) == [field.name for field in dataclasses.fields(Outer)]
    trials, third, name = known["trials"], known["third"], known["name"]
    assert (trials.help, trials.metavar, trials.type) == ("assignments to score", "N", int)
    assert trials.default == 60 and trials.flag == "--trials" and not trials.required
    assert name.required and known["size"].unit == "px"
    assert third.choices == ("delay", "area") and known["sides"].choices == SIDES


def options_of(*words, **overrides):
    parser = argparse.ArgumentParser(exit_on_error=False)
    names = ("trials", "size", "goal", "sides", "blocks", "most", "root", "flag", "on", "side")
    add_settings(parser, Outer, names, overrides=overrides)
    return given_settings(parser.parse_args(words), Outer), parser.format_help()


def test_a_command_line_has_the_settings_that_it_names():
    assert options_of()[0] == {}
    words = ["--trials", "3", "--size", "2", "--blocks", "1,2", "--sides", "left", "--flag"]
    words += ["--root", "r", "--no-on", "--sides", "right", "--goal", "any"]
    assert options_of(*words)[0] == {
        "trials": 3,
        "size": 2.0,
        "blocks": (1, 2),
        "sides": SIDES,
        "flag": True,
        "root": Path("r"),
        "on": False,
        "goal": "any",  # refused by the reader, which names the nearest
    }


def test_help_comes_from_the_fields_unless_it_is_overridden():
    text = " ".join(options_of(side={"help": "which side"})[1].split())
    assert "--trials N assignments to score (default 60)" in text
    assert "of the image, px (default 32.0)" in text
    assert "what is minimised: pareto, energy (default pareto)" in text
    assert "at most 100 %" in text and "which side" in text and "one of two" not in text


def test_settings_and_errors_need_no_torch_and_luts_no_pydantic():
    code = (
        "import sys, luts.settings, luts.errors, luts.console; "
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules); "
        "import luts; luts.catalog; "
        "assert 'pydantic' not in sys.modules and 'torch' in sys.modules; "
        "assert set(luts.__all__) <= set(dir(luts))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
