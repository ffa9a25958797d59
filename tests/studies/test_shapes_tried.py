"""Random shapes through emulated products: few here, and that a difference is found."""

import dataclasses

import pytest
import torch

from studies.fuzzing import _shapes
from studies.fuzzing._shapes import OPERATIONS, Call, arithmetics, try_shapes


@pytest.mark.parametrize("arithmetic", arithmetics())
@pytest.mark.parametrize("operation", OPERATIONS)
def test_random_shapes_end_as_in_pytorch(operation, arithmetic):
    counts, differing = try_shapes(operation, arithmetics()[arithmetic], 300, seed=7)
    assert differing == []
    assert counts.total() == 300
    assert counts["valid"] > 30 and counts["refused"] > 30


def test_what_ends_otherwise_is_found(monkeypatch):
    call = Call(lambda: torch.ones(2, 3), lambda: torch.ones(2, 3), "a call")

    def refusing():
        raise RuntimeError("no")

    wrong = dataclasses.replace(call, ours=lambda: torch.ones(3, 2))
    calls = [call, wrong, dataclasses.replace(call, ours=refusing)]
    calls.append(dataclasses.replace(call, theirs=refusing))
    calls.append(Call(refusing, refusing, "refused alike"))
    monkeypatch.setitem(_shapes.OPERATIONS, "made up", lambda *_: calls)
    counts, differing = try_shapes("made up", arithmetics()["one product"], 5, seed=0)
    assert counts == {"valid": 3, "refused": 2}
    assert differing == [
        "a call: (3, 2) and not (2, 3)",
        "a call: no and not (2, 3)",
        "a call: (2, 3) and not no",
    ]
