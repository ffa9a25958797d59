"""What a search leaves behind: closing, files, pictures, comparisons.

`_closing` tunes and tests what is reported, chosen by `_halving`: a new figure of a finished search
starts there. `_run_folder` names the files, `_tables` has the columns of the CSV files, `_headline`
the answer in one line, `_pictures` the figures, `_page` what is explored in a browser, `_export`
and `_hardware_files` what hardware needs of a trial; `_provenance` says what a run was made with.
`_result` is a finished search in Python, `_stored_run` reads one back. `_compare`, `_recost` and
`_all_topologies` put runs side by side.
"""

from dse.results._all_topologies import together_table, write_together
from dse.results._closing import Closing, close
from dse.results._compare import (
    TOPOLOGY_COLOURS,
    Finished,
    as_rows,
    draw,
    minimised,
    read_runs,
    shared_reference,
    summary,
    tolerance,
)
from dse.results._export import Exported, ExportSettings, check_target, check_unedited
from dse.results._halving import Halving, dominated_ranks
from dse.results._hardware_files import BENCH
from dse.results._headline import Headline, as_json, first_line, headline_of
from dse.results._page import draw_html
from dse.results._pictures import draw_png
from dse.results._provenance import provenance
from dse.results._recost import is_asked, joint_trials, recost, recost_all
from dse.results._result import Result
from dse.results._run_folder import ASSIGNMENTS, DATABASE, Run
from dse.results._stored_run import known_measure, read_closing, study_of
from dse.results._tables import closing_table, front_frame, trials_frame, trust

__all__ = [
    "ASSIGNMENTS",
    "BENCH",
    "DATABASE",
    "TOPOLOGY_COLOURS",
    "Closing",
    "ExportSettings",
    "Exported",
    "Finished",
    "Halving",
    "Headline",
    "Result",
    "Run",
    "as_json",
    "as_rows",
    "check_target",
    "check_unedited",
    "close",
    "closing_table",
    "dominated_ranks",
    "draw",
    "draw_html",
    "draw_png",
    "first_line",
    "front_frame",
    "headline_of",
    "is_asked",
    "joint_trials",
    "known_measure",
    "minimised",
    "provenance",
    "read_closing",
    "read_runs",
    "recost",
    "recost_all",
    "shared_reference",
    "study_of",
    "summary",
    "together_table",
    "tolerance",
    "trials_frame",
    "trust",
    "write_together",
]
