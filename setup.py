"""Builds the native kernels with whatever C compiler is there; the rest is in pyproject.toml.

The extension is a plain C library that Python loads with ctypes: it needs neither Python's nor
PyTorch's headers. It is optional: without a compiler everything works, slower.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("luts/_native/src")


class BuildLibrary(build_ext):
    """Compiles an extension that has no Python entry point."""

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """No PyInit function: ctypes loads the library."""
        return ext.export_symbols


setup(
    cmdclass={"build_ext": BuildLibrary},
    ext_modules=[
        Extension(
            "luts._native._kernels",
            sources=sorted(str(path) for path in SOURCES.glob("*.c")),
            depends=[str(path) for path in SOURCES.glob("*.h")],
            # Never fused multiply-add: results are compared bit for bit with PyTorch's.
            extra_compile_args=["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno"],
            libraries=["m", "dl", "pthread"] if sys.platform.startswith("linux") else [],
            optional=True,
        )
    ],
)
