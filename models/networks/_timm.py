"""timm, also where torchvision's compiled operators do not load.

timm imports torchvision. PyPI's torchvision for x86 is built for CUDA; on a CPU build of torch its
extension does not load and the import fails with "operator torchvision::nms does not exist",
because it attaches shape functions to operators that nobody has declared. Declaring the two
schemas is enough: nothing here ever calls them.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []


def timm() -> ModuleType:
    """The timm module."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _declare_operators()
    import timm as module

    return module


def _declare_operators() -> None:
    # PyTorch gives this class no types.
    declare: Callable[..., Any] = torch.library.Library
    library = declare("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    # The schemas live as long as the library object.
    _declared.append(library)
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
