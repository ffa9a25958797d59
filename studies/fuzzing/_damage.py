"""Damage to files: what disks, editors and strangers do to bytes and to values."""

import copy
import json
from typing import Any

import numpy as np

TOKENS = (
    *(b"", b"\0", b"\xff\xfe", b"\n", b",", b";", b'"', b"{", b"}", b"[", b"]", b"=", b"#", b"//"),
    *(b"nan", b"inf", b"-1", b"1e400", b"1_0", b"0x7f", b"99999999999999999999", b"true", b"null"),
    *(b"[" * 3000, b"a" * 3000, b"9" * 5000, "é".encode(), b"\xed\xa0\x80"),
)

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**70, -0.5, 1e308, float("nan"), float("inf"), "", "x", "9" * 50),
    *([], {}, [[]], [1, "a"], {"": None}, "\ud800".encode("utf-8", "replace").decode()),
)


def damaged(seeds: tuple[bytes, ...], rng: np.random.Generator) -> bytes:
    """One of several files with one to four of its bytes, places or lines changed."""
    content = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 5)):
        _damage(content, seeds, rng)
    return bytes(content)


def _damage(content: bytearray, seeds: tuple[bytes, ...], rng: np.random.Generator) -> None:
    start, end = np.sort(rng.integers(0, len(content) + 1, 2))
    near = min(int(start) + int(rng.integers(0, 12)), len(content))
    match rng.integers(6):
        case 0 if content:
            content[min(int(start), len(content) - 1)] ^= 1 << int(rng.integers(8))
        case 1:
            content[start:near] = TOKENS[rng.integers(len(TOKENS))]
        case 2:
            del content[start:end]
        case 3:
            del content[start:]
        case 4:
            other = seeds[rng.integers(len(seeds))]
            content[start:near] = other[int(rng.integers(len(other) + 1)) :][:200]
        case _:
            content[start:start] = content[start : min(end, start + 4096)]


def reshaped(text: bytes, rng: np.random.Generator) -> bytes:
    """A JSON text with one to three of its values replaced, removed or nested deeper."""
    value = json.loads(text)
    for _ in range(rng.integers(1, 4)):
        value = _reshape(value, rng)
    return json.dumps(value).encode()


def _reshape(value: Any, rng: np.random.Generator) -> Any:
    if rng.random() < 0.2 or not isinstance(value, dict | list) or not value:
        return copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key: Any = keys[rng.integers(len(keys))]
    if rng.random() < 0.1:
        del value[key]
    else:
        value[key] = _reshape(value[key], rng)
    return value
