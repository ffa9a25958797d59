"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """A mistake in what the user gave: a name, a number, a file.

    The message is one line and gives the rule, the value, and the remedy. Commands print it without
    a traceback and exit with status 2.
    """


def suggest(name: str, known: list[str], limit: int = 5) -> str:
    """Names out of ``known`` that ``name`` may have meant, as the tail of an error message."""
    import difflib

    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), list(folded), n=limit, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(folded[c] for c in close) + "?"
    shown = ", ".join(known[:20])
    return f"known: {shown}" + (", …" if len(known) > 20 else "")
