"""Read files so that every error names its file, and check that numbers can mean what they should."""

import codecs
import contextlib
import gzip
import io

import nibabel
import numpy as np
import pandas as pd

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@contextlib.contextmanager
def reading(path):
    """Add the name of the file to every error that a library raises while reading it.

    Parameters
    ----------
    path : pathlib.Path
        The file that is read. The block should do nothing else.

    Raises
    ------
    OSError
        If the system refuses, for example because another program holds the file.
    ValueError
        The file is damaged.
    """
    try:
        yield
    except Exception as error:  # On damaged bytes parsers raise anything, up to MemoryError.
        number = getattr(error, "errno", None)
        if isinstance(error, BlockingIOError):
            raise BlockingIOError(
                number,
                f"{path} is held by another program that may be writing to it ({error.args[-1]}). Close it "
                "there, for example by ending the notebook that opened it. On a network disk without locks "
                "set HDF5_USE_FILE_LOCKING=FALSE before Python starts",
            ) from error
        if number:  # no permission, too many open files
            raise OSError(number, f"{path} can't be opened ({error.args[-1]})") from error
        told = str(error) or type(error).__name__
        raise ValueError(
            f"{path} is truncated or damaged ({told}): delete it and download it again."
        ) from error


def read_text(path):
    """Return the text of a file in UTF-8, or in UTF-16 where its first bytes say so.

    Raises
    ------
    ValueError
        If the file is empty or holds bytes that are not text.
    """
    with reading(path):
        content = path.read_bytes()
        encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
        text = content.decode(encoding)
        if not text.strip():
            raise ValueError("it is empty")
        if "\0" in text:
            raise ValueError("it holds zeros in place of text")
    return text


def read_table(path, separator, columns):
    """Return the columns asked for of a text table, as a `pandas.DataFrame`.

    Raises
    ------
    ValueError
        If the file is damaged or lacks a column.
    """
    text = read_text(path)
    with reading(path):
        table = pd.read_csv(io.StringIO(text), sep=separator)
    check_names(path, columns, table)
    return table[list(columns)]


def check_names(path, wanted, present):
    """Raise ValueError if a file lacks columns or arrays that NSD's own files have."""
    missing = sorted(set(wanted) - set(present))
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}, which NSD's release of 2021 has. Is it of another release? "
            "Download it again."
        )


def whole_numbers(values, what, advice):
    """Return numbers that stand for whole numbers as an int array of the same shape.

    Files often hold whole numbers as floats. These are rounded if they lie within 1e-3 of a whole number.

    Parameters
    ----------
    values : array
    what : str
        The beginning of the error message, such as "subj.mgz does not hold labels".
    advice : str
        The end of the error message, which says what to do.

    Returns
    -------
    int array

    Raises
    ------
    ValueError
        If the values are not numbers, or if some are fractions, NaN or beyond 2^53.
    """
    values = np.asarray(values)
    if values.dtype.kind in "iub":
        return values.astype(int)
    if values.dtype.kind != "f":
        raise ValueError(f"{what}: expected whole numbers, got {values.dtype}. {advice}")
    rounded = np.rint(values)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        whole = (np.abs(values - rounded) < 1e-3) & (np.abs(rounded) < 2**53)
    if not whole.all():
        wrong = values[~whole]
        raise ValueError(
            f"{what}: {len(wrong):,} of {values.size:,} numbers are fractions or not numbers at all, the "
            f"first being {wrong[0]:g}. {advice}"
        )
    return rounded.astype(int)


def read_image(path):
    """Return a NIfTI or MGH file, compressed or not, as a nibabel image in memory.

    A compressed file is decompressed to its end, because gzip compares its checksum only there.
    """
    kind = nibabel.MGHImage if path.suffix in (".mgh", ".mgz") else nibabel.Nifti1Image
    with reading(path):
        content = path.read_bytes()
        if path.suffix in (".gz", ".mgz"):
            content = gzip.decompress(content)
        image = kind.from_bytes(content)
        np.asanyarray(image.dataobj)  # raises where numbers are missing
    return image


def read_labels(path):
    """Return the codes of an atlas, as an int array of the file's shape.

    Raises
    ------
    ValueError
        If the file is damaged or holds fractions.
    """
    return whole_numbers(
        np.asanyarray(read_image(path).dataobj),
        f"{path} does not hold labels",
        "Fractions come from interpolation: resample the atlas with nearest neighbour.",
    )


def existing_form(path, endings):
    """Return the path of an existing file with one of these endings, compressed or not.

    Parameters
    ----------
    path : pathlib.Path
        The path with the first of the endings.
    endings : sequence of str
        Such as ``(".nii.gz", ".nii")``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    forms = [path.with_name(path.name.removesuffix(endings[0]) + ending) for ending in endings]
    for form in forms:
        if form.is_file():
            return form
    raise FileNotFoundError(f"No {path.name} in {path.parent}. Download that part of NSD too.")
