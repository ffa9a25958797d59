"""Whether the power that an energy rests on was published, given or estimated."""

import luts
from energy._figures import Figures, published_figures
from models import Assignment


def figures_origin(
    assignment: Assignment, figures: Figures | None = None, catalog: luts.Catalog = luts.catalog
) -> str:
    """``published``, ``given``, or ``estimated ±x %``: of the power of an assignment's circuits.

    Where any is estimated, x is the largest cross-validated error of theirs. What a user has given
    wins over an estimate.

    Args:
        assignment: a choice for every site.
        figures: in use; by default the published ones.
        catalog: where the multipliers are.
    """
    figures = published_figures(catalog) if figures is None else figures
    errors, given = [], False
    for name in {choice.multiplier for choice in assignment.choices.values()}:
        multiplier = catalog[name]
        if figures.multiplier(name).source != multiplier.source:
            given = True
        elif multiplier.figures_error_pct is not None and multiplier.figures_error_pct.power_mw:
            errors.append(multiplier.figures_error_pct.power_mw)
        else:
            given |= multiplier.figures_from == "given"
    if errors:
        return f"estimated ±{max(errors):.1f} %"
    return "given" if given else "published"
