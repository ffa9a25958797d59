"""The study's file is where its run folder says, and is whole even if its making was cut short."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy
import sqlalchemy.event
from sqlalchemy.engine import Engine

from dse.study import open_storage, read_study
from dse.study._stored import STUDY_NAME
from tests.dse._stand_in import listing, open_study, run_to, seeded

NAMES = ["a?s=1", "a%20b", "a{b}", "a#b", "[b]", "a b$", "ü"]


@pytest.mark.parametrize("name", NAMES)
def test_a_database_lies_in_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    file = folder / "study.db"
    study = open_study(file, "random")
    seeded(study)
    trials = listing(run_to(study, 5))
    study.close()
    assert list(tmp_path.iterdir()) == [folder]
    assert list(folder.iterdir()) == [file]
    kept = read_study(file)
    assert kept is not None
    assert listing(kept.trials.values()) == trials


def test_folders_that_a_url_takes_for_one_are_two(tmp_path: Path) -> None:
    counts = {"z_r?s=1": 3, "z_r?s=2": 4}
    for name, count in counts.items():
        (tmp_path / name).mkdir()
        study = open_study(tmp_path / name / "study.db", "random")
        assert study.trials() == []
        run_to(study, count)
        study.close()
    for name, count in counts.items():
        assert len(read_study(tmp_path / name / "study.db").trials) == count


def test_a_relative_file_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = open_study(Path("study.db"), "random")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run_to(study, 3)
    study.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(read_study(tmp_path / "study.db").trials) == 3


def test_braces_in_the_url_of_a_storage_are_letters(tmp_path: Path) -> None:
    (tmp_path / "a{b}").mkdir()
    url = f"sqlite:///{tmp_path}/a{{b}}/shared.db"
    open_storage(url).close()
    assert [path.name for path in (tmp_path / "a{b}").iterdir()] == ["shared.db"]
    assert read_study(url) is None


STEP = 13


class Killed(BaseException):
    """Stands for a signal that cannot be caught."""


def _is_cut_short(make, after: int) -> bool:
    """Call ``make`` and cut it short after so many statements, if it has more."""
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen > after:
            raise Killed

    sqlalchemy.event.listen(Engine, "before_cursor_execute", count)
    try:
        make()
    except Killed:
        return True
    finally:
        sqlalchemy.event.remove(Engine, "before_cursor_execute", count)
    return False


def test_a_database_whose_making_was_cut_short_is_finished(tmp_path: Path) -> None:
    """Before every 13th of the statements that make database, study and its identity."""
    after, is_cut = 0, True
    while is_cut:
        file = tmp_path / f"{after}.db"
        is_cut = _is_cut_short(lambda f=file: open_study(f, "random").close(), after)
        assert is_cut or read_study(file) is not None
        study = open_study(file, "random")
        assert study.ask().number == 0
        study.close()
        after += STEP
    assert after > 60


@pytest.mark.parametrize("table", ["trial_heartbeats", "alembic_version", "version_info"])
def test_a_study_without_a_table_is_another_schema(tmp_path: Path, table: str) -> None:
    file = tmp_path / "study.db"
    open_study(file, "random").close()
    with sqlite3.connect(file) as database:
        database.execute(f"DROP TABLE {table}")
    database.close()
    with pytest.raises(ValueError, match=f"another schema, without the table {table}"):
        open_storage(file)


def test_a_study_that_another_program_began_is_left_alone(tmp_path: Path) -> None:
    import optuna

    file = tmp_path / "study.db"
    study = optuna.create_study(
        storage=f"sqlite:///{file}", study_name=STUDY_NAME, directions=["minimize"] * 2
    )
    study.set_user_attr("mine", 1)
    study._storage.remove_session()
    before = file.read_bytes()
    with pytest.raises(ValueError, match="made by something else"):
        open_study(file, "random")
    with pytest.raises(ValueError, match="made by something else"):
        read_study(file)
    assert file.read_bytes() == before
