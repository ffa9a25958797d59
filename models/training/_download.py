"""Fetching published files, never half of one, never another than was meant."""

import hashlib
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from luts.console import Reporter
from luts.errors import InputError
from models.training._files import atomically

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 30


@dataclass(frozen=True)
class Checksum:
    """The hexadecimal digest of a file, or how it begins; an empty one holds for every file."""

    algorithm: str
    begins: str

    def verify(self, path: Path, remedy: str) -> None:
        """Compare with the file.

        Raises:
            InputError: it is another; ``remedy`` ends the message.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, self.algorithm).hexdigest()
        if not digest.startswith(self.begins):
            raise InputError(
                f"{path} is damaged, half-downloaded or another file ({self.algorithm} "
                f"{digest[: len(self.begins)]}, expected {self.begins}): {remedy}"
            )


ANY = Checksum("sha256", "")


def download(url: str, path: Path, *, checksum: Checksum, reporter: Reporter) -> None:
    """Fetch ``url`` into ``path``, which appears when all of it is there and its checksum holds.

    Raises:
        InputError: the download fails, or gives something else.
    """
    by_hand = f"fetch it by other means and put it at {path}"
    try:
        with (
            atomically(path) as temporary,
            urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer,
        ):
            _copy(answer, temporary, title=f"fetch {path.name}", reporter=reporter)
            checksum.verify(temporary, by_hand)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise InputError(f"cannot fetch {url} ({reason}): {by_hand}") from None


def _copy(answer: http.client.HTTPResponse, path: Path, *, title: str, reporter: Reporter) -> None:
    length = answer.headers.get("Content-Length")
    with path.open("wb") as file, reporter.bar(title, int(length) if length else None) as advance:
        while block := answer.read(_BLOCK_BYTES):
            file.write(block)
            advance(len(block))
        if length and file.tell() != int(length):
            raise OSError(f"the connection broke after {file.tell()} of {length} bytes")
