"""How a trial carries its assignment: codes and origin as JSON in one attribute."""

from typing import Any

import numpy as np

from dse.problem import Codes

ASSIGNMENT = "assignment"
RESULT = "result"


def record_of(codes: Codes, origin: str, **extra: Any) -> dict[str, Any]:
    """The attribute's value; the study says what the codes mean."""
    return {"origin": origin, "codes": [int(code) for code in codes], **extra}


def codes_of(record: dict[str, Any]) -> Codes:
    """Codes of an attribute's value, int64 of shape ``(groups,)``."""
    return np.array(record["codes"], dtype=np.int64)
