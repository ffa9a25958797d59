"""Damaged files through every reader: a share of what the study does."""

import json

import numpy as np
import pytest

from luts.errors import InputError
from studies.fuzzing._damage import damaged, reshaped
from studies.fuzzing._fuzz import fuzz
from studies.fuzzing._readers import Reader, readers

FAST = 40


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return readers(tmp_path_factory.mktemp("whole"))


def test_whole_files_are_accepted(known, tmp_path):
    for number, reader in enumerate(known):
        taken = 0
        for seed in reader.seeds:
            path = tmp_path / str(number) / reader.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(seed)
            try:
                reader.read(path)
                taken += 1
            except InputError:  # a part of a file, to be damaged further
                continue
        assert taken, reader.name


def test_no_damage_leads_to_another_error_than_the_documented_one(known, tmp_path):
    for reader in known:
        inputs = max(3, round(FAST * reader.share))
        outcome = fuzz(reader, inputs, tmp_path / "damaged", seed=2)
        assert not outcome.undocumented, (reader.name, outcome.undocumented, outcome.example)
        assert outcome.accepted + outcome.refused == inputs


def raising(error):
    def read(path):
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "undocumented"),
    [
        (InputError("no table: give one"), False),
        (InputError("no\ntable"), True),
        (InputError(""), True),
        (KeyError("table"), True),
        (RecursionError(), True),
    ],
)
def test_what_is_not_a_refusal_of_one_line_is_found(tmp_path, error, undocumented):
    outcome = fuzz(Reader("r", "f.x", raising(error), (b"abc",)), 5, tmp_path, seed=0)
    assert outcome.undocumented.total() == (5 if undocumented else 0)
    assert (outcome.example is not None) == undocumented
    assert outcome.refused == (0 if undocumented else 5)


def test_the_same_seed_does_the_same_damage_and_it_is_damage():
    seeds = (b"0123456789" * 20, b"abc" * 30)
    first, again = (
        [damaged(seeds, rng) for _ in range(200)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first == again and len(set(first)) > 150
    assert sum(content in seeds for content in first) < 20


def test_values_of_a_text_are_changed_and_it_stays_json():
    text = json.dumps({"a": [1, 2, {"b": "c"}], "d": 0.5}).encode()
    rng = np.random.default_rng(0)
    found = [reshaped(text, rng) for _ in range(100)]
    for each in found:
        json.loads(each)
    assert sum(json.loads(each) == json.loads(text) for each in found) < 10
