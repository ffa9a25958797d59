"""A trial as files for hardware: constants, golden vectors, Verilog with its test bench, ONNX."""

import dataclasses
import fnmatch
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from dse.problem import Trial
from dse.results._hardware_files import (
    ASSIGNMENT,
    MANIFEST,
    PARAMETERS,
    README,
    REFERENCE,
    RTL,
    VECTORS,
    Folder,
    label_of,
    readme,
    site_record,
)
from dse.results._new_folder import new_folder
from dse.results._provenance import provenance
from dse.results._run_folder import Run
from dse.study import StoredStudy, about, is_same
from energy import run_files
from luts.circuits import BenchSite, array_bench, verilog_of
from luts.console import SILENT, Reporter
from luts.errors import InputError
from luts.settings import check_settings, setting
from models import Assignment, EmulatedNetwork, Site
from models.emulation import GoldenVectors, golden_vectors, site_parameters, write_onnx

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What an export holds beside the constants of all sites.

    Raises:
        InputError: a value of another type or out of range.
    """

    site: Annotated[
        tuple[str, ...],
        setting(
            "sites with vectors, by pattern, repeatable; by default the first of each kind and, in "
            "the first expert layer, of each kind in each expert",
            metavar="PATTERN",
        ),
    ] = ()
    experts: Annotated[
        tuple[int, ...], setting("of experts' sites only those of these", metavar="I,J,…")
    ] = ()
    images: Annotated[int, setting("training images that the vectors are of", ge=1)] = 1
    positions: Annotated[
        int, setting("outputs of a channel that the test bench checks", ge=1, metavar="M")
    ] = 4
    channels: Annotated[int, setting("channels that the test bench checks", ge=1, metavar="N")] = 8
    hex: Annotated[bool, setting("write every array as text for $readmemh too")] = False
    onnx: Annotated[bool, setting("write the exact int8 network as ONNX")] = True

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: the folder.
        sites: names of the sites with vectors.
        checked: names of those that the test bench checks.
        notes: what was left out and why, one line each.
        files: number of files.
        bytes: their size.
    """

    path: Path
    sites: tuple[str, ...]
    checked: tuple[str, ...]
    notes: tuple[str, ...]
    files: int
    bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """What is exported.

    Attributes:
        title: of the search.
        trial: the trial.
        network: under its assignment, recovered as it was tested.
        reference: the exact int8 network.
        images: training images.
    """

    title: str
    trial: Trial
    network: EmulatedNetwork
    reference: EmulatedNetwork
    images: Any


def check_target(path: Path) -> None:
    """Refuse to write into a folder that has something in it.

    Raises:
        InputError: it has, or is a file.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; name a folder that is new or empty")
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"the folder {path} is not empty and is not overwritten; name another")


def check_unedited(run: Run, study: StoredStudy, trial: int) -> None:
    """Refuse a run whose files do not say what its study says.

    Args:
        run: the folder.
        study: its study.
        trial: number of the trial that is wanted.

    Raises:
        InputError: they differ.
    """
    known = {key: value for key, value in about(run.config).items() if key in study.identity}
    for key, value in known.items():
        kept = study.identity[key]
        if not is_same(key, kept, value):
            raise InputError(
                f"{run.path / run_files.CONFIG} says {key} {value!r} and the study {kept!r}: the "
                f"file was edited; put the study's value back"
            )
    file = run.path / run_files.ASSIGNMENTS / run_files.member_file(trial)
    if file.exists() and trial in study.trials:
        if Assignment.read(file).digest != study.assignment(trial).digest:
            raise InputError(
                f"{file} differs from what trial {trial} of the study tried: it was edited; delete "
                f"it, or search again"
            )


def chosen_sites(sites: Sequence[Site], settings: ExportSettings) -> tuple[Site, ...]:
    """The sites that get vectors, in the network's order.

    Raises:
        InputError: a pattern matches no site, or an expert is not there.
    """
    known = {site.expert for site in sites if site.expert is not None}
    for expert in settings.experts:
        if expert not in known:
            have = f"it has {min(known)} to {max(known)}" if known else "it has no experts"
            raise InputError(f"the network has no expert {expert}; {have}")
    wanted = set()
    for pattern in settings.site:
        matched = fnmatch.filter([site.name for site in sites], pattern)
        if not matched:
            raise InputError(
                f"--site {pattern!r} matches no site; sites are named like {sites[0].name!r} and "
                f"{sites[-1].name!r}, and * stands for any characters"
            )
        wanted.update(matched)
    if not settings.site:
        wanted = _first_of_each(sites)
    return tuple(
        site
        for site in sites
        if site.name in wanted
        and (site.expert is None or not settings.experts or site.expert in settings.experts)
    )


def _first_of_each(sites: Sequence[Site]) -> set[str]:
    layer = next((site.expert_layer for site in sites if site.expert is not None), None)
    first: dict[tuple[object, ...], str] = {}
    for site in sites:
        if site.expert is None or site.expert_layer == layer:
            first.setdefault((site.kind, site.expert), site.name)
    return set(first.values())


def export(
    make_source: Callable[[], Source],
    path: Path,
    settings: ExportSettings,
    reporter: Reporter = SILENT,
) -> Exported:
    """Write a trial; the folder is there whole or not at all.

    Args:
        make_source: loads and recovers what is exported, once the folder has been looked at.
        path: folder, new or empty.
        settings: what it holds.
        reporter: shows progress.

    Raises:
        InputError: the folder is not empty or cannot be made, or settings fit no site.
    """
    path = path.resolve()
    check_target(path)
    source = make_source()
    chosen = chosen_sites(source.network.sites, settings)
    with new_folder(path) as temporary:
        exported = _write(source, chosen, Folder(temporary, settings.hex), settings, reporter)
    return dataclasses.replace(exported, path=path)


def _write(
    source: Source,
    chosen: Sequence[Site],
    folder: Folder,
    settings: ExportSettings,
    reporter: Reporter,
) -> Exported:
    """All files of an export, the manifest last."""
    vectors = golden_vectors(
        source.network,
        source.images[: settings.images],
        [site.name for site in chosen],
        positions=settings.positions,
        channels=settings.channels,
    )
    notes = [
        f"{site.name} gets no items, so that it has no vectors"
        for site in chosen
        if site.name not in vectors
    ]
    folder.text(ASSIGNMENT, source.trial.assignment.to_json() + "\n")
    sites, tiles = _write_sites(source.network, vectors, folder, reporter)
    circuits, checked = _write_circuits(source.network, tiles, folder)
    for record in circuits:
        if record["verilog"] is None:
            notes.append(
                f"{record['name']} has no Verilog: it is no array, and was not read from a Verilog "
                f"file; the test bench leaves its sites out"
            )
    reference, missing = _write_reference(source, folder) if settings.onnx else (None, "")
    notes += [f"no {REFERENCE}: {missing}"] if missing else []
    title, number = source.title, source.trial.number
    page = readme(
        title=title, trial=number, sites=len(checked), has_reference=reference is not None
    )
    folder.text(README, page)
    files = folder.digests()
    manifest = {
        "format": FORMAT,
        "search": title,
        "trial": _trial(source.trial),
        "made_with": provenance(),
        "circuits": circuits,
        "sites": sites,
        "checked_by_testbench": checked,
        "reference": reference,
        "left_out": notes,
        "files": files,
    }
    folder.text(MANIFEST, json.dumps(manifest, indent=1) + "\n")
    size = sum(record["bytes"] for record in files.values())
    return Exported(folder.path, tuple(vectors), tuple(checked), tuple(notes), len(files) + 1, size)


def _trial(trial: Trial) -> dict[str, Any]:
    scores = {
        name: None if score is None else score.to_dict()
        for name, score in (("validation", trial.best_validation), ("test", trial.test))
    }
    return {
        "number": trial.number,
        "energy_rel": trial.energy_rel,
        "assignment_sha256": trial.assignment.digest,
        **scores,
    }


def _write_sites(
    network: EmulatedNetwork,
    vectors: Mapping[str, GoldenVectors],
    folder: Folder,
    reporter: Reporter,
) -> tuple[list[dict[str, Any]], dict[str, BenchSite]]:
    """Constants of all sites and vectors of some: records for the manifest, tiles by site."""
    records, tiles = [], {}
    for index, site in enumerate(reporter.track(network.sites, "export")):
        parameters, mine = site_parameters(network, site.name), vectors.get(site.name)
        label = label_of(index, site.name)
        constants = folder.arrays(f"{PARAMETERS}/{label}", parameters.arrays())
        record = site_record(parameters, constants)
        if mine is not None:
            record["vectors"] = folder.arrays(f"{VECTORS}/{label}", mine.arrays())
            record["items_routed_here"] = mine.is_routed
            tiles[site.name] = BenchSite(
                label=label,
                multiplier=parameters.arithmetic.multiplier,
                swapped=parameters.arithmetic.swapped,
                positions=len(mine.tile.activations),
                depth=len(mine.tile.weights),
                channels=mine.tile.weights.shape[1],
                files=folder.tile(f"{VECTORS}/{label}", mine.tile),
            )
        records.append(record)
    return records, tiles


def _write_circuits(
    network: EmulatedNetwork, tiles: Mapping[str, BenchSite], folder: Folder
) -> tuple[list[dict[str, Any]], list[str]]:
    """Verilog of every distinct circuit that has some: records, and names of checked sites."""
    circuits = dict.fromkeys(network.layer(s.name).arithmetic.multiplier for s in network.sites)
    described = [circuit for circuit in circuits if verilog_of(circuit) is not None]
    checked = {name: tile for name, tile in tiles.items() if tile.multiplier in described}
    files: dict[str, str] = {}
    if described:
        for name, text in array_bench(described, list(checked.values())).items():
            files[name] = folder.text(f"{RTL}/{name}", text)
    own = dict(zip(described, files.values(), strict=False))  # the circuits come first
    records = [
        {
            "name": circuit.name,
            "table_sha256": circuit.sha256,
            "signed": circuit.signed,
            "source": circuit.source,
            "verilog": own.get(circuit),
        }
        for circuit in circuits
    ]
    return records, list(checked)


def _write_reference(source: Source, folder: Folder) -> tuple[dict[str, Any] | None, str]:
    """The exact network as ONNX: its record, or None and why there is none."""
    try:
        takes_any = write_onnx(source.reference, source.images[:1], folder.path / REFERENCE)
    except InputError as error:
        return None, str(error)
    return {"file": REFERENCE, "batch": "any" if takes_any else 1}, ""
