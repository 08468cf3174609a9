"""Download NSD, or the small part of it that a chapter needs, and COCO's captions, into a tree.

On fsaverage5 a session takes 61 MB in place of 983. A surface file holds all vertices of the first trial,
then of the second, and the first 10,242 of each are fetched by ranges. The result is a valid surface file of
10,242 vertices, which `nsd.betas` reads in the space "fsaverage5".

Everything here was tested against servers on the same machine, with files of NSD's names and shapes. NSD's
own server was not asked. The report of a download says where names and sizes differ from `nsd.files`.
"""

import dataclasses
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from latentcortex import store
from latentcortex.nsd import files
from latentcortex.nsd.chapters import needs
from latentcortex.nsd.design import trials
from latentcortex.nsd.images_by_range import LayoutError, fetch_images
from latentcortex.store import downloads, remote_bytes, transfer
from latentcortex.store.remote_bytes import NoRangesError
from latentcortex.store.writing import replacing

NSD_TERMS = """  - The Natural Scenes Dataset is for research and education.
  - Whoever uses it signs the form on naturalscenesdataset.org first.
  - It may not be passed on: no data, no images, no arrays made of them, to anyone.
  - It may not be sold, and nobody may try to find out who the subjects are.
  - Work with it cites Allen et al. (2022), Nature Neuroscience 25, 116-126.
  These are our words. The terms themselves are on naturalscenesdataset.org."""
COCO_TERMS = """  - COCO's captions come under the Creative Commons Attribution 4.0 licence.
  - The photographs belong to their authors on Flickr, under licences of their own.
  These are our words. The terms themselves are on cocodataset.org."""
_REFUSED = (
    "A refusal (HTTP 403) by NSD's server means one of two things. Either the file has another name than "
    "expected: compare with the listing that naturalscenesdataset.org links to. Or access is closed to you: "
    "fill in the form there, and follow what its answer says."
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What to download of NSD.

    Attributes
    ----------
    subjects : tuple of int
    sessions : int or None
        The first so many; None for all.
    space : str
        One of `files.SPACES`.
    chapters : tuple of int
        Of the book: what they need is fetched. None of them: betas, regions and design.
    images : {"none", "seen", "all"} or None
        Those that the subjects saw in these sessions, or the whole file; None as the chapters need.
    mirror : str
        Address of a server with NSD's paths.
    """

    subjects: tuple
    sessions: int | None = None
    space: str = "fsaverage5"
    chapters: tuple = ()
    images: str | None = None
    mirror: str = files.BUCKET


def download_nsd(choice, root, accept_terms=False, dry_run=False, **options):
    """Fetch what was chosen into a tree; return the exit status of the command.

    Parameters
    ----------
    choice : Choice
    root : path
        Of the tree, which `latentcortex.nsd` reads afterwards.
    accept_terms, dry_run : bool
        Without the first, or with the second, the plan is printed and nothing is fetched.
    **options
        See `transfer.fetch`.

    Returns
    -------
    int
        0: all is there (or a dry run); 1: something is not; 3: the terms were not accepted.

    Raises
    ------
    ValueError, OSError, RuntimeError
        A subject, space or chapter does not exist; the disk has no room; another download is at work there.
    """
    needed = needs(choice.chapters)
    if "bold5000" in needed:
        raise ValueError("Chapter 15 reads BOLD5000, not NSD: run `latentcortex download bold5000 FOLDER`.")
    images = choice.images or ("seen" if "images" in needed else "none")
    remotes = files.files(choice.subjects, choice.sessions, choice.space)
    remotes += [files.stimuli()] if images == "all" else []
    remotes = [_at(remote, choice.mirror) for remote in remotes]
    captions = "captions" in needed and not _has_captions(root)
    extra = {}
    if images == "seen":
        most = files.most_images(choice.subjects, choice.sessions)
        whole = store.in_words(files.stimuli().size)
        name = f"{most:,} images, if the server gives them one by one; the file of all images has {whole}"
        extra[name] = most * files.IMAGE_BYTES
    terms = f"{NSD_TERMS}\n{COCO_TERMS}" if captions else NSD_TERMS
    source = downloads.Source(
        "NSD", terms, remotes + ([files.COCO] if captions else []), refused=_REFUSED, extra=extra
    )
    if not downloads.agreed(source, root, accept_terms, dry_run):
        return 0 if dry_run else downloads.NO_CONSENT
    source = dataclasses.replace(source, remotes=_with_headers(source.remotes, root, options))
    outcomes = transfer.fetch(source.remotes, root, **options)
    if images == "seen":
        outcomes += _fetch_seen(choice, root, options)
    if captions:
        _unpack_captions(root)
    return downloads.report(outcomes, _REFUSED)


def download_captions(root, accept_terms=False, dry_run=False, **options):
    """Fetch COCO's captions into the folder ``annotations`` of a tree; parameters as for `download_nsd`."""
    source = downloads.Source("COCO's captions", COCO_TERMS, [] if _has_captions(root) else [files.COCO])
    status = downloads.run(source, root, accept_terms, dry_run, **options)
    _unpack_captions(root)
    return status


def cut_header(header, url):
    """Return the header of a surface file for its first vertices alone.

    Parameters
    ----------
    header : bytes
        284 bytes, of a file of all vertices.
    url : str
        For the message.

    Returns
    -------
    bytes

    Raises
    ------
    TransferError
        The header is not that of 750 trials of floats on fsaverage.
    """
    # FreeSurfer's MGH format: version, width, height, depth, frames, type (3 is float), big-endian.
    found = struct.unpack(">6i", header[:24])
    expected = (1, files.N_VERTICES, 1, 1, files.N_TRIALS, 3)
    if found != expected:
        raise remote_bytes.TransferError(
            f"{url} has the header {found} (version, three axes, trials, type), expected {expected}: "
            f"{files.N_TRIALS} trials of {files.N_VERTICES:,} vertices as floats. So its first vertices "
            "can't be fetched alone. Fetch the space fsaverage."
        )
    return header[:4] + struct.pack(">i", files.N_FIRST) + header[8:]


def _at(remote, mirror):
    return dataclasses.replace(remote, url=remote.url.replace(files.BUCKET, mirror.rstrip("/"), 1))


def _with_headers(remotes, root, options):
    """Return the files with the headers of those that are cut, or whole where a server gives no parts."""
    missing = {remote.path for remote in transfer.what_is_missing(remotes, root)}
    cut = [remote for remote in remotes if remote.ranges is not None and remote.path in missing]
    patience = {name: options[name] for name in ("tries", "pause", "timeout") if name in options}

    def with_header(remote):
        header, _ = remote_bytes.read_range(remote.url, 0, files.MGH_HEADER, **patience)
        return dataclasses.replace(remote, header=cut_header(header, remote.url))

    done, failed = {}, None
    with ThreadPoolExecutor(options.get("connections", 8)) as pool:
        futures = {remote.path: pool.submit(with_header, remote) for remote in cut}
    for path, future in futures.items():
        try:
            done[path] = future.result()
        except NoRangesError as error:
            failed = error
        except remote_bytes.RefusedError:
            pass  # fetch says so, and goes on with the other files
    if failed:
        whole = [remote.whole for remote in cut]
        n_bytes = sum(remote.size for remote in whole)
        print(f"{failed} Surface files are fetched whole: {store.in_words(n_bytes)}.")
        downloads.check_room(root, n_bytes, "NSD")
        done = {remote.path: remote for remote in whole}
    return [done.get(remote.path, remote) for remote in remotes]


def _fetch_seen(choice, root, options):
    """Fetch the images that the subjects saw, one by one if the server's file allows it."""
    chosen = files.chosen_sessions(choice.subjects, choice.sessions)
    stimuli = _at(files.stimuli(), choice.mirror)
    try:
        seen = [trials(root, f"subj{s:02d}", numbers)["image_id"] for s, numbers in chosen.items()]
        image_ids = np.unique(np.concatenate(seen))
        try:
            return fetch_images(stimuli.url, root, image_ids, **options)
        except (LayoutError, NoRangesError) as error:
            print(f"{error} The file of all images is fetched whole: {store.in_words(stimuli.size)}.")
            downloads.check_room(root, stimuli.size, "The file of all images")
            return transfer.fetch([stimuli], root, **options)
    except (ValueError, OSError, remote_bytes.TransferError) as error:  # the other files are there
        return [transfer.Outcome(stimuli, "failed", str(error))]


def _has_captions(root):
    return all(Path(root, path).is_file() for path in files.COCO_CAPTIONS)


def _unpack_captions(root):
    """Unpack the captions alone; a checksum of the archive is compared on the way."""
    archive = Path(root, files.COCO.path)
    if not archive.is_file() or _has_captions(root):
        return
    with zipfile.ZipFile(archive) as content:
        for path in files.COCO_CAPTIONS:
            with content.open(path) as packed, replacing(Path(root, path)) as temporary:
                temporary.write_bytes(packed.read())
