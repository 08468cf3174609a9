"""Maps for other programs: written, read back equal, and read by nibabel and nilearn as they are."""

import shutil

import nibabel
import numpy as np
import pytest
from nilearn import image as nilearn_image
from nilearn import surface as nilearn_surface
from scipy.spatial.transform import Rotation

from latentcortex import nsd

SHAPE = (4, 9, 9)
N_VERTICES = 324
AFFINE = np.eye(4)
AFFINE[:3, :3] = 1.8 * Rotation.from_euler("xyz", [5, -7, 3], degrees=True).as_matrix()
AFFINE[:3, 3] = [-40.25, 12.5, 7]


@pytest.fixture(scope="module")
def root(tiny_tree, tmp_path_factory):
    """The tiny tree with a brain mask for one subject, oblique, and regions only for the other."""
    copy = shutil.copytree(tiny_tree, tmp_path_factory.mktemp("saving") / "nsd")
    for subject, name in (("subj01", "brainmask"), ("subj02", "roi/streams")):
        path = copy / f"nsddata/ppdata/{subject}/func1pt8mm/{name}.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), path)
    return copy


def numbers(rng, *shape):
    """Values with all the bits that float32 has, some NaN, both signs of 0, and the extremes."""
    values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape)).astype(np.float32)
    flat = values.reshape(-1)
    flat[:7] = np.nan, -0.0, 0.0, np.inf, -np.inf, 1e-45, np.finfo(np.float32).max
    return rng.permutation(flat).reshape(shape)


def same_bits(found, expected):
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found[found == 0]), np.signbit(expected[expected == 0]))


ENDINGS = {"func1pt8mm": [".nii.gz", ".nii"], "fsaverage": [".gii", ".mgh", ".mgz"]}
EACH = [(space, ending) for space, endings in ENDINGS.items() for ending in endings]
each = pytest.mark.parametrize(("space", "ending"), EACH)


@pytest.mark.parametrize(
    ("space", "ending", "n_maps"),
    [(*kind, n) for kind in EACH for n in (None, 1, 3) if n != 1 or ".mg" not in kind[1]],
)
def test_maps_are_read_back_to_the_last_bit(root, rng, tmp_path, space, ending, n_maps):
    size = SHAPE if space == "func1pt8mm" else (N_VERTICES,)
    values = numbers(rng, *([] if n_maps is None else [n_maps]), *size)
    path = tmp_path / "new" / f"r{ending}"
    files = nsd.save_map(path, values, root, "subj01", space)
    expected = ["r" + ending] if space == "func1pt8mm" else ["lh.r" + ending, "rh.r" + ending]
    assert [file.name for file in files] == expected == sorted(p.name for p in path.parent.iterdir())
    found = nsd.read_map(path)
    same_bits(found.values, values)
    assert found.image_ids is None and found.description == ""


@pytest.mark.parametrize(("space", "ending"), [("func1pt8mm", ".nii.gz"), ("fsaverage", ".gii")])
def test_ids_and_description_travel_with_the_predictions(root, rng, tmp_path, space, ending):
    size = SHAPE if space == "func1pt8mm" else (N_VERTICES,)
    mask = rng.random(size) < 0.4
    values = numbers(rng, 5, np.count_nonzero(mask))
    about = {"image_ids": np.array([72_999, 3, 0, 41, 7]), "description": "prédictions of z, " * 20}
    path = tmp_path / f"predicted{ending}"
    nsd.save_map(path, values, root, "subj01", space, mask, **about)
    found = nsd.read_map(path, mask)
    same_bits(found.values, values)
    np.testing.assert_array_equal(found.image_ids, about["image_ids"])
    assert found.description == about["description"]
    whole = nsd.read_map(path).values
    assert whole.shape == (5, *size) and np.isnan(whole[:, ~mask]).all()


@pytest.mark.parametrize("subject", ["subj01", "subj02"])
@pytest.mark.parametrize("n_maps", [None, 2])
def test_nilearn_reads_volumes_where_the_subjects_own_voxels_lie(root, rng, tmp_path, subject, n_maps):
    values = rng.standard_normal((*([] if n_maps is None else [n_maps]), *SHAPE)).astype(np.float32)
    (path,) = nsd.save_map(tmp_path / "r.nii.gz", values, root, subject, "func1pt8mm", description="r of z")
    image = nilearn_image.load_img(path)
    np.testing.assert_array_equal(
        image.get_fdata(dtype=np.float32), values if n_maps is None else np.moveaxis(values, 0, -1)
    )
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(image.header.get_qform(), AFFINE, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm" and image.header["descrip"].item() == b"r of z"
    own = next((root / f"nsddata/ppdata/{subject}/func1pt8mm").rglob("*.nii.gz"))
    np.testing.assert_array_equal(image.affine, nibabel.load(own).affine)


@pytest.mark.parametrize("ending", [".mgh", ".mgz", ".gii"])
@pytest.mark.parametrize("n_maps", [None, 2])
def test_nilearn_reads_each_hemisphere(root, rng, tmp_path, ending, n_maps):
    values = rng.standard_normal((*([] if n_maps is None else [n_maps]), N_VERTICES)).astype(np.float32)
    left, right = nsd.save_map(tmp_path / f"r{ending}", values, root, "subj01", "fsaverage")
    for path, half in zip((left, right), np.split(values, 2, axis=-1), strict=True):
        if ending == ".mgh":  # nilearn knows the packed form only
            np.testing.assert_array_equal(np.squeeze(nibabel.load(path).dataobj), half.T)
        else:
            np.testing.assert_array_equal(nilearn_surface.load_surf_data(path), half.T)
    if ending == ".gii":
        structure = nibabel.load(right).meta["AnatomicalStructurePrimary"]
        assert structure == "CortexRight"


def test_files_of_other_programs_are_read(rng, tmp_path):
    values = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(values, 0, -1), AFFINE), tmp_path / "other.nii")
    same_bits(nsd.read_map(tmp_path / "other.nii").values, values)
    halves = rng.standard_normal((2, 10)).astype(np.float32)
    for hemisphere, half in zip(("lh", "rh"), halves, strict=True):
        nibabel.save(
            nibabel.MGHImage(half[:, None, None], np.eye(4)), tmp_path / f"{hemisphere}.thickness.mgh"
        )
    same_bits(nsd.read_map(tmp_path / "thickness.mgh").values, halves.ravel())


def test_the_first_vertices_are_fsaverage5s(root, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(nsd.surfaces.SPACES["fsaverage5"], "n_first", 100)
    values = numbers(rng, 200)
    nsd.save_map(tmp_path / "r.gii", values, root, "subj01", "fsaverage5")
    same_bits(nsd.read_map(tmp_path / "r.gii").values, values)
    with pytest.raises(ValueError, match=r"200 vertices or voxels in fsaverage5, .* shape \(324,\)"):
        nsd.save_map(tmp_path / "r.gii", numbers(rng, N_VERTICES), root, "subj01", "fsaverage5")


@each
def test_a_file_is_replaced_whole_or_stays(root, rng, tmp_path, monkeypatch, space, ending):
    size = SHAPE if space == "func1pt8mm" else (N_VERTICES,)
    path, old, new = tmp_path / f"r{ending}", numbers(rng, *size), numbers(rng, *size)
    nsd.save_map(path, old, root, "subj01", space)
    with monkeypatch.context() as patch:
        patch.setattr("latentcortex.store.writing.flush", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nsd.save_map(path, new, root, "subj01", space)
    same_bits(nsd.read_map(path).values, old)
    files = nsd.save_map(path, new, root, "subj01", space)
    same_bits(nsd.read_map(path).values, new)
    assert sorted(tmp_path.iterdir()) == files


def test_errors_of_saving(root, rng, tmp_path):
    def save(name="r.gii", values=None, space="fsaverage", subject="subj01", **more):
        values = rng.standard_normal(N_VERTICES) if values is None else values
        nsd.save_map(tmp_path / name, values, root, subject, space, **more)

    mask = rng.random(N_VERTICES) < 0.5
    for arguments, message in (
        (
            {"values": np.zeros(20_484)},
            r"subj01 has 324 .* in fsaverage, but values have the shape \(20484,\)",
        ),
        (
            {"values": np.zeros((4, 9, 8)), "space": "func1pt8mm", "name": "r.nii"},
            r"has 4x9x9 .* \(4, 9, 8\)",
        ),
        ({"values": np.zeros((2, 2, N_VERTICES))}, r"expected \(324,\) or \(n_maps, 324\)"),
        ({"values": np.zeros((0, N_VERTICES))}, "n_maps"),
        ({"values": np.zeros(N_VERTICES, complex)}, "real numbers, got complex"),
        ({"values": np.ma.masked_array(np.zeros(N_VERTICES))}, "values is a masked array"),
        ({"mask": mask[:-1]}, r"expected a mask of bool of the shape \(324,\), got bool of \(323,\)"),
        ({"mask": mask}, r"marks \d+ vertices or voxels, but values have the shape \(324,\)"),
        ({"space": "MNI"}, "There are: fsaverage, fsaverage5, func1pt8mm, func1mm"),
        ({"name": "r.nii.gz"}, "ends in .mgz, .mgh, .gii"),
        ({"space": "func1pt8mm"}, "ends in .nii.gz, .nii"),
        ({"name": ".gii"}, "expected a name"),
        ({"subject": "subj09"}, "No subject 'subj09'"),
        ({"image_ids": [1]}, "one image for each map"),
        ({"values": np.zeros((2, N_VERTICES)), "image_ids": [1]}, "got 1 ids for values of"),
        ({"name": "r.mgh", "description": "r"}, "mgh has no place"),
        ({"name": "r.mgz", "values": np.zeros((2, N_VERTICES)), "image_ids": [1, 2]}, "mgz has no place"),
        ({"name": "r.mgz", "values": np.zeros((1, N_VERTICES))}, "save as .gii"),
    ):
        with pytest.raises(ValueError, match=message):
            save(**arguments)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="func1mm"):
        save("r.nii", np.zeros(SHAPE), "func1mm")


def test_errors_of_reading(root, rng, tmp_path):
    path = tmp_path / "r.gii"
    with pytest.raises(FileNotFoundError, match="No lh.r.gii"):
        nsd.read_map(path)
    with pytest.raises(ValueError, match="ends in"):
        nsd.read_map(tmp_path / "r.npy")
    left, right = nsd.save_map(path, numbers(rng, N_VERTICES), root, "subj01", "fsaverage")
    with pytest.raises(ValueError, match=r"of the size \(324,\); got a mask of bool of the size \(9,\)"):
        nsd.read_map(path, np.ones(9, bool))
    whole = left.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"<GIFTI></GIFTI>"):
        left.write_bytes(damaged)
        with pytest.raises(ValueError, match="lh.r.gii is truncated or damaged"):
            nsd.read_map(path)
    # Predictions of other images under the same name in one hemisphere.
    other = tmp_path / "other" / "r.gii"
    for where, ids in ((path, [1, 2]), (other, [1, 3])):
        nsd.save_map(where, numbers(rng, 2, N_VERTICES), root, "subj01", "fsaverage", image_ids=ids)
    shutil.copy(other.with_name("lh.r.gii"), left)
    with pytest.raises(ValueError, match="were not saved together"):
        nsd.read_map(path)
