"""``python -m studies.search_efficiency``: hypervolume against evaluations, sampler by sampler.

Runs the matrix of config.toml cell by cell, skips what ``results/cells`` holds, goes on inside the
cell where an interrupted run stopped, and writes table and figure.
"""

from pathlib import Path

from dse import provenance
from luts.console import Reporter, quieten_libraries, run
from models.training import cache_folder
from studies._images import Images
from studies._matrix import CellStore, Record, announce, measure_all
from studies._options import check_known, study_parser
from studies.search_efficiency import _report
from studies.search_efficiency._cells import (
    EfficiencyStudy,
    SearchCell,
    SearchedNetwork,
    run_cell,
    screened,
)

RUNNING = "search-efficiency"
"""Folder in the cache where the studies lie while they run."""


def main() -> None:
    """Run what is missing, then report."""
    common = ("--images", "--data-root", "--networks", "--seeds")
    parser = study_parser("search_efficiency", __doc__, *common)
    parser.add_argument("--samplers", nargs="*", metavar="NAME", help="only these samplers")
    options = parser.parse_args()
    study, reporter = EfficiencyStudy.read(), Reporter()
    quieten_libraries()
    check_known("network", options.networks, study.networks)
    check_known("sampler", options.samplers, sorted({*study.budgets, *study.tied}))
    # Lists of hundreds of numbers would be unreadable with a line for each.
    store = CellStore[SearchCell](options.results, indent=None)
    only = {"network": options.networks, "sampler": options.samplers, "seed": options.seeds}
    missing = store.missing(study.cells(), **only)
    networks = {
        name: SearchedNetwork.load(study, name, Images.of(options), reporter)
        for name in dict.fromkeys(cell.network for cell in missing)
    }
    for name, network in networks.items():
        store.check_weights(name, network.weights_sha256)

    def seconds_of(cell: SearchCell) -> float:
        """By processor time; a repeated assignment costs less."""
        return (20 + cell.budget) * networks[cell.network].seconds

    def measure(cell: SearchCell) -> Record:
        network, database = networks[cell.network], _database(cell)
        estimate = screened if study.is_screened(cell) else None
        record = run_cell(network, cell, study.multipliers, database, reporter, estimate=estimate)
        return {**record, "making": provenance()}

    def kept(cell: SearchCell, record: Record) -> str:
        _database(cell).unlink(missing_ok=True)
        _report.write(store)
        return f"{len(record['energy_rel'])} evaluations"

    announce(missing, seconds_of, reporter)
    measure_all(store, missing, measure, kept, reporter)
    if store.records():
        print(_report.write(store).to_string(index=False))


def _database(cell: SearchCell) -> Path:
    folder = cache_folder() / RUNNING
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{cell.name}.db"


if __name__ == "__main__":
    run(main)
