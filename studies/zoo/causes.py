"""``python -m studies.zoo.causes``: why networks of the census err more than rounding noise does.

Takes the networks that results/census.csv says so of, and writes ``causes.csv``.
"""

import pandas as pd

from luts.console import Reporter, quieten_libraries, run
from luts.errors import InputError
from studies._files import together
from studies._options import check_known, study_parser
from studies.zoo._causes import causes_of
from studies.zoo._measure import BEYOND_NOISE
from studies.zoo._networks import ZooCell, ZooStudy


def main() -> None:
    """Measure them all anew."""
    options = study_parser("zoo", __doc__, "--networks", "--quiet").parse_args()
    quieten_libraries()
    study, reporter = ZooStudy.read(), Reporter(quiet=options.quiet)
    check_known("network", options.networks, [cell.network for cell in study.cells()])
    cells = [cell for cell in study.cells() if cell.network in (options.networks or ())]
    if not options.networks:
        cells = beyond_noise(study, pd.read_csv(options.results / "census.csv"))
    if not cells:
        raise InputError("no network of the census errs more than rounding noise: name --networks")
    rows = [causes_of(study, cell) for cell in reporter.track(cells, "causes")]
    table = pd.DataFrame(rows)
    with together(options.results) as new:
        table.to_csv(new("causes.csv"), index=False, float_format="%.4g")
    print(table.drop(columns="commit").to_string(index=False, float_format="%.3f"))


def beyond_noise(study: ZooStudy, census: pd.DataFrame) -> list[ZooCell]:
    """The networks that err more."""
    said = census["reason"].astype(str).str.contains(BEYOND_NOISE)
    names = set(census.loc[said, "network"])
    return [cell for cell in study.cells() if cell.network in names]


if __name__ == "__main__":
    run(main)
