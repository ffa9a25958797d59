"""Multipliers: what they are, what they cost, and how to multiply with them fast.

The names are imported when the first of them is used, so that what needs no multiplier
(`luts.errors`, `luts.console`, `luts.settings`) does not wait for PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from luts import _interrupt as _interrupt  # first, as it sees to Ctrl-C while the rest is imported
from luts.errors import InputError as InputError

if TYPE_CHECKING:
    from luts._public import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        if name in ("circuits", "families", "loading"):
            return importlib.import_module(f"{__name__}.{name}")
        if name == "__all__" or not name.startswith("_"):
            from luts import _public

            names = {each: getattr(_public, each) for each in ("__all__", *_public.__all__)}
            globals().update(names)
            if name in names:
                return names[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
