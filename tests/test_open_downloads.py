"""Open data sets from a server on this machine to a tree: download, import, check, and a number of it."""

import shutil
import zipfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import open_data_files
import pytest
from loopback import serving

from latentcortex import command, nsd
from latentcortex.decoders import LinearDecoder
from latentcortex.open_data import bold5000, laion_files, laion_fmri
from latentcortex.store import downloads
from latentcortex.store.remote_bytes import TransferError
from latentcortex.store.transfer import Remote

SPACE = "func1pt8mm"
QUICK = {"tries": 2, "pause": 0.002, "timeout": 2.0}
ROIS = "derivatives/rois/sub-01/face/sub-01_space-T1w_res-1pt8_label-FFA-1_mask.nii.gz"


def content_of(folder):
    """Return all files of a folder as bytes, by path."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def listing(content, prefix, token=""):
    """Return what S3 answers when it is asked for a listing."""
    entries = "".join(
        f"<Contents><Key>{key}</Key><ETag>&quot;x&quot;</ETag><Size>{len(of)}</Size></Contents>"
        for key, of in content.items()
        if key.startswith(prefix)
    )
    on = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    text = f"<?xml version='1.0'?><ListBucketResult><Prefix>{prefix}</Prefix>{entries}{on}</ListBucketResult>"
    return text.encode()


def key_of_listing(subject, token=""):
    return laion_files.listing_address(subject, token).split("/", 3)[3]


# --- LAION-fMRI -----------------------------------------------------------------------------------


@pytest.fixture
def bucket(tmp_path, rng, monkeypatch):
    """Serve LAION-fMRI as its bucket does."""
    planted = open_data_files.write_laion_fmri(tmp_path / "bucket", rng)
    content = content_of(tmp_path / "bucket")
    content["splits/data/sub-01/tau.json"] = open_data_files.write_split(
        tmp_path / "tau.json", open_data_files.NAMES[3:6], open_data_files.NAMES[:2]
    ).read_bytes()
    for subject in laion_fmri.SUBJECTS:
        prefix = f"derivatives/rois/sub-{subject:02d}/"
        content[key_of_listing(subject)] = listing(content, prefix)
    with serving(content) as server:
        monkeypatch.setattr(laion_files, "SERVER", server.url("").rstrip("/"))
        monkeypatch.setattr(laion_files, "PACKAGE", server.url("").rstrip("/"))
        server.planted = planted
        yield server


def test_laion_fmri_from_the_server_to_a_map(bucket, tmp_path, capsys):
    source, root = tmp_path / "source", tmp_path / "tree"
    arguments = ["download", "laion-fmri", str(source), "--subjects", "1", "--sessions", "2"]
    assert command.main(arguments) == downloads.NO_CONSENT
    told = capsys.readouterr().out
    assert "public domain" in told and "derivatives/rois/sub-01/face" in told and "--accept-terms" in told
    assert not source.exists()
    assert command.main([*arguments, "--dry-run"]) == 0
    assert ROIS in capsys.readouterr().out
    assert command.main([*arguments, "--accept-terms"]) == 0
    assert "in the authors' package on GitHub" in capsys.readouterr().out  # this server has one split
    assert not list(source.rglob("*res-1pt5*"))
    assert command.main(["import", "laion-fmri", str(source), str(root)]) == 0
    assert f'data = "{root.as_posix()}"' in capsys.readouterr().out
    assert command.main(["check", str(root), "--space", SPACE, "--chapters", "4", "5"]) == 1
    told = capsys.readouterr().out
    assert "only after its own agreement" in told, "the images are what is missing"
    assert "Can run: 05.\nCan't run yet: 04, for want of other cortex, images." in told
    assert "9 trials in sessions 1, 2" in told
    mask = bucket.planted.masks[1]["laion-general"]
    share = np.where(mask, nsd.noise_ceiling(nsd.ncsnr(root, "subj01", SPACE), 12), np.nan)
    nsd.save_map(tmp_path / "ceiling.nii.gz", share, root, "subj01", SPACE)
    found = nsd.read_map(tmp_path / "ceiling.nii.gz", mask).values
    np.testing.assert_allclose(100 * found, bucket.planted.ceiling[1][mask], rtol=1e-4)
    split = laion_fmri.named_split(source / "splits/data/sub-01/tau.json", root, "subj01")
    assert len(split.train_ids) == 3 and len(split.test_ids) == 2


def test_a_download_that_is_whole_fetches_nothing_again(bucket, tmp_path, capsys):
    arguments = ["download", "laion-fmri", str(tmp_path), "--subjects", "3", "--sessions", "1"]
    assert command.main([*arguments, "--accept-terms"]) == 0
    n_requests = len(bucket.requests)
    assert command.main([*arguments, "--accept-terms"]) == 0
    again = {r["path"] for r in bucket.requests[n_requests:] if r["status"] == 200}
    assert again == {key_of_listing(3)}
    assert "there already" in capsys.readouterr().out


def test_a_long_listing_is_read_to_its_end(bucket):
    first = {key: b"123" for key in (ROIS, ROIS.replace("1pt8", "1pt5"))}
    second = {ROIS.replace("FFA-1", "FFA-2").replace("face/", "face&amp;more/"): b"12345"}
    bucket.files[key_of_listing(1)] = listing(first, "", "a+b/c=&amp;d")
    bucket.files[unquote(key_of_listing(1, "a+b/c=&d"))] = listing(second, "")
    found = laion_files.listed_regions([1], **QUICK)
    assert [(one.path, one.n_bytes) for one in found] == [
        (ROIS, 3),
        (ROIS.replace("FFA-1", "FFA-2").replace("face/", "face&more/"), 5),
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (403, "does not give this file .*HTTP 403.* known from this listing alone"),
        ("page", "web page .* known from this listing alone"),
        (503, "given up after 2 attempts.* known from this listing alone"),
        (b"<Error/>", "is no listing: it begins with '<Error/>'"),
        (listing({}, ""), "lists no mask of a region of sub-06"),
    ],
)
def test_without_a_listing_nothing_is_planned_and_it_is_said_why(bucket, answer, message):
    if isinstance(answer, bytes):
        bucket.files[key_of_listing(6)] = answer
    else:
        bucket.fault = lambda path, _: answer if path.startswith("?list") else None
        bucket.files[key_of_listing(6)] *= 50  # long enough to be cut off
    with pytest.raises(TransferError, match=message):
        laion_fmri.download_source([6], 1, **QUICK)


def test_names_lead_to_what_is_imported(tmp_path, rng):
    open_data_files.write_laion_fmri(tmp_path / "bucket", rng)
    remotes = laion_fmri.files(subjects=[1, 3], sessions=1)
    paths = [one.path for one in remotes if not one.path.startswith("splits")]
    assert len(set(paths)) == len(paths) == 9
    assert all((tmp_path / "bucket" / path).is_file() for path in paths)
    assert remotes[0].url == f"https://laion-fmri.s3.us-west-2.amazonaws.com/{paths[0]}"
    assert remotes[-1].url.endswith("/main/laion_fmri/splits/data/sub-03/cluster_k5_4.json")
    assert len(laion_fmri.files()) == 3 + 5 * (1 + 60) + 6 * 12
    with pytest.raises(ValueError, match="1 to 30 sessions, got 31"):
        laion_fmri.files(sessions=31)


# --- BOLD5000 -------------------------------------------------------------------------------------


@pytest.fixture
def homes(tmp_path, rng, monkeypatch):
    """Serve BOLD5000's archives, one packed in another as figshare does, and COCO's captions."""
    folder, betas = tmp_path / "authors", "BOLD5000_GLMsingle_ROI_betas"
    planted = open_data_files.write_bold5000(folder, rng)
    for path in folder.glob("*_stim_lists.txt"):
        path.unlink()
    coco = shutil.make_archive(str(tmp_path / "coco"), "zip", folder, "annotations")
    inner = shutil.make_archive(str(tmp_path / "inner"), "zip", folder, betas)
    with zipfile.ZipFile(tmp_path / "article.zip", "w") as archive:
        archive.write(inner, f"{betas}.zip")
    stimuli = shutil.make_archive(str(tmp_path / "stimuli"), "zip", folder, "BOLD5000_Stimuli")
    archives = {"article": tmp_path / "article.zip", "stimuli": stimuli, "coco": coco}
    with serving({name: Path(path).read_bytes() for name, path in archives.items()}) as server:
        remotes = [
            Remote(server.url(name), of.path) for name, of in zip(archives, bold5000.files(), strict=True)
        ]
        monkeypatch.setattr(bold5000, "files", lambda *_: remotes)
        server.planted = planted
        yield server


def test_bold5000_from_its_homes_to_a_score(homes, tmp_path, capsys):
    source, root = tmp_path / "source", tmp_path / "tree"
    arguments = ["download", "bold5000", str(source)]
    assert command.main(arguments) == downloads.NO_CONSENT
    assert "CC0" in capsys.readouterr().out
    assert command.main([*arguments, "--accept-terms"]) == 0
    assert command.main(["import", "bold5000", str(source), str(root), "--subjects", "1", "2"]) == 0
    capsys.readouterr()
    assert command.main(["check", str(root), "--chapters", "4", "5", "11", "15"]) == 1
    told = capsys.readouterr().out
    assert (
        "note     prf-visualrois (subj01, subj02): not drawn in this data set, so without its areas: 11"
        in told
    )
    assert (
        "MISSING  prf-visualrois" in told
        and "Can run: 05, 11, 15." in told
        and "04, for want of prf-visual" in told
    )
    train, test = nsd.image_responses(root, "subj01", SPACE)
    # A target that the responses determine is decoded from responses that the decoder has not seen.
    weights = np.ones((train[0].shape[1], 1), np.float32)
    decoder = LinearDecoder(alphas=[1e-3], cv="gcv").fit(train[0], train[0] @ weights, train[1])
    assert decoder.predict(test[0], image_ids=test[1]).shape == (2, 1)
    expected = homes.planted.betas["CSI1"]
    np.testing.assert_allclose(nsd.betas(root, "subj01", SPACE), expected, atol=0.5 / 300 + 1e-6)


def test_a_challenge_in_place_of_an_archive_is_said(homes, tmp_path, capsys):
    homes.fault = lambda path, _: "page" if path == "article" else None
    assert command.main(["download", "bold5000", str(tmp_path / "source"), "--accept-terms"]) == 1
    told = capsys.readouterr().out
    assert "NOT THERE: BOLD5000_GLMsingle_ROI_betas.zip" in told and "web page" in told


def test_the_published_addresses_name_three_archives():
    remotes = bold5000.download_source([1], 2).remotes
    names = ["BOLD5000_GLMsingle_ROI_betas.zip", "BOLD5000_Stimuli.zip", "annotations_trainval2017.zip"]
    assert [one.path.split("/")[-1] for one in remotes] == names
    assert all(one.url.startswith("http") for one in remotes)
