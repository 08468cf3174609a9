"""Check which subjects of an open data set are asked for."""


def checked_subjects(data_set, known, subjects=None):
    """Return numbers of subjects as a sorted list.

    Parameters
    ----------
    data_set : str
        Its name, for the message.
    known : sequence of int
        All subjects that it has.
    subjects : sequence of int, optional
        By default `known`.

    Raises
    ------
    ValueError
        None is asked for, one is not known, or one is asked for twice.
    """
    numbers = sorted(known if subjects is None else subjects)
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(known):
        raise ValueError(
            f"{data_set} has the subjects {_listed(known)}: expected one or more of them, each once, got "
            f"{_listed(numbers) or 'none'}."
        )
    return numbers


def _listed(numbers):
    return ", ".join(map(str, numbers))
