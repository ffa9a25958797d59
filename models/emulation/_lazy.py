"""Tensors that are computed when something reads them."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch.utils._pytree import tree_leaves, tree_map


class Lazy(torch.Tensor):
    """A tensor that is computed when something reads it.

    Attributes:
        known: what keeps it so: by operator, a function that may give NotImplemented.
    """

    known: ClassVar[dict[Any, Callable[..., Any]]] = {}
    _plain: torch.Tensor | None = None
    _compute: Callable[[], torch.Tensor]
    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @classmethod
    def of(cls, shape: Any, strides: Any, dtype: torch.dtype, device: torch.device) -> Any:
        """One that looks like this."""
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, shape, strides=strides, dtype=dtype, device=device
        )

    def plain(self) -> torch.Tensor:
        """The tensor itself."""
        if self._plain is None:
            self._plain = self._compute()
        return self._plain

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """What is known keeps it lazy; anything else reads it."""
        known = cls.known.get(func)
        if known is not None:
            result = known(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return _read(func, args, kwargs or {})

    def __deepcopy__(self, memo: Any) -> torch.Tensor:
        return self.plain().clone()

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return repr(self.plain())


def _passed_on(name: str) -> Callable[..., Any]:
    def method(self: Lazy, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.plain(), name)(*args, **kwargs)

    return method


for _name in (
    *("numpy", "tolist", "data_ptr", "storage", "untyped_storage", "storage_offset"),
    # These would read memory that is not there.
    *("apply_", "map_", "map2_"),
    *("__array__", "__dlpack__", "__dlpack_device__", "__reduce_ex__", "__format__"),
):
    setattr(Lazy, _name, _passed_on(_name))


def plain(x: torch.Tensor) -> torch.Tensor:
    """``x``, or the tensor that it stands for."""
    return x.plain() if isinstance(x, Lazy) else x


def plain_leaves(tree: Any) -> Any:
    """``tree`` with the tensors that are stood for."""
    if any(isinstance(leaf, Lazy) for leaf in tree_leaves(tree)):
        return tree_map(lambda leaf: plain(leaf) if isinstance(leaf, Lazy) else leaf, tree)
    return tree


def _read(func: Any, args: Any, kwargs: Any) -> Any:
    """Call ``func`` of the tensors themselves; what it changed in place stays who it is."""
    known: dict[int, Lazy] = {}

    def opened(leaf: Any) -> Any:
        if not isinstance(leaf, Lazy):
            return leaf
        tensor = leaf.plain()
        known[id(tensor)] = leaf
        return tensor

    result = func(*tree_map(opened, args), **tree_map(opened, kwargs))
    if isinstance(result, torch.Tensor):
        return known.get(id(result), result)
    return result
