"""Image files to pixels, several at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from luts.console import Reporter
from luts.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_CHUNK = 64

MAX_PIXELS = 2**26
"""Of one image; a larger one is refused before it is decoded."""


def decode_all(
    files: Iterable[tuple[int, str, bytes]],
    count: int,
    out: Path,
    *,
    image_size: int | None,
    reporter: Reporter,
) -> NDArray[np.uint8]:
    """Decode image files into a new ``.npy`` memory map.

    Args:
        files: for each image its row, its name and its bytes, in any order.
        count: how many there are.
        out: the file to write.
        image_size: images are scaled to cover a square of this side and cropped to it, centred;
            without it all must be squares of one size already.
        reporter: shows progress.

    Returns:
        The memory map, ``uint8 [count, 3, side, side]``.

    Raises:
        InputError: a file is not an image, is not of the common size, or has over 8 bits per
            channel.
    """
    stream = iter(files)
    first = next(stream)
    side = image_size or _common_side(*first[1:])
    shape = (count, 3, side, side)
    pixels = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=shape)

    def decode_chunk(chunk: tuple[tuple[int, str, bytes], ...]) -> int:
        for row, name, raw in chunk:
            pixels[row] = _decode(name, raw, side=side, resize=image_size is not None)
        return len(chunk)

    chunks = _chunked(chain([first], stream))
    with reporter.bar("decode images", count) as advance:
        for done in _in_threads(decode_chunk, chunks):
            advance(done)
    pixels.flush()
    return pixels


def _chunked(
    files: Iterable[tuple[int, str, bytes]],
) -> Iterator[tuple[tuple[int, str, bytes], ...]]:
    stream = iter(files)
    while chunk := tuple(islice(stream, _CHUNK)):
        yield chunk


def _in_threads(
    work: Callable[[tuple[tuple[int, str, bytes], ...]], int],
    chunks: Iterable[tuple[tuple[int, str, bytes], ...]],
) -> Iterator[int]:
    """Results of ``work`` with a bounded number of chunks in memory."""
    workers = min(16, os.cpu_count() or 1)
    pending: deque[Future[int]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for chunk in chunks:
                pending.append(pool.submit(work, chunk))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _open(name: str, raw: bytes) -> Image.Image:
    try:
        # Pillow warns of what it finds large, and allocates it all the same.
        image = Image.open(BytesIO(raw))
        if image.width * image.height > MAX_PIXELS:
            raise InputError(
                f"{name} has {image.width}×{image.height} pixels, and an image at most "
                f"{MAX_PIXELS:,}: scale it down"
            )
        image.load()
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name} cannot be read as an image ({type(error).__name__}): replace or remove it"
        ) from None
    if image.mode not in _MODES:
        raise InputError(
            f"{name} has pixels of mode {image.mode}, not 8 bits per channel: convert it to RGB"
        )
    return image


def _common_side(name: str, raw: bytes) -> int:
    width, height = _open(name, raw).size
    if width != height:
        raise InputError(
            f"images must be square, {name} has {width}×{height} pixels: give an image size to "
            "scale and crop them to"
        )
    return width


def _decode(name: str, raw: bytes, *, side: int, resize: bool) -> NDArray[np.uint8]:
    image = _open(name, raw).convert("RGB")
    if image.size != (side, side):
        if not resize:
            raise InputError(
                f"images must have one size, {name} has {image.size[0]}×{image.size[1]} pixels "
                f"where others have {side}×{side}: give an image size to scale and crop them to"
            )
        image = ImageOps.fit(image, (side, side), method=Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
