"""``python -m studies.searched_vs_fixed``: see run.py."""

from luts.console import run
from studies.searched_vs_fixed.run import main

if __name__ == "__main__":
    run(main)
