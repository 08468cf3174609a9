"""What the front page shows and no other product holds: numbers of chapters 01 to 04, originals, z and c.

The film of the front page is drawn when the page is built, from ``film_z`` and ``film_c``. They are decoded
from the first subject's responses to the first images of ``ch06_reconstruct_images-pictures``, which were
drawn at random by a seed set before anyone looked. Reads the pictures of ch06, ch08 and ch14 as well. On two
cores a first run takes a minute.
"""

import numpy as np
import torch

from latentcortex import features, nsd
from latentcortex.ridge import Ridge
from latentcortex.store import rows_of
from latentcortex.studies import decoding, drawings, jobs, results, targets

N_FILMS = 3
# Whose originals the page shows: script, ending and array of the ids, and how many of them.
PICTURED = (
    ("ch06_reconstruct_images", "-pictures", "image_ids", N_FILMS),
    ("ch08_guide_the_sampler", "-pictures", "picture_ids", 1),
    ("ch14_leave_kinds_out", "-pictures", "image_ids", 2),
)
ALPHAS = np.logspace(-1, 7, 17)  # as in chapter 04


def pictured_ids(study):
    """Return the ids of the images whose originals are shown, those of the films first."""
    found = []
    for name, ending, ids, n in PICTURED:
        product = results.product(name, study.root, ending, study.preset)
        if not product:
            raise ValueError(f"Run 'latentcortex run {name}' first: the front page shows its pictures.")
        found += product[ids][:n].tolist()
    return np.array(found)


def share_that_repeats(study, subject):
    """Return the mean noise ceiling of one showing, and of the test pictures (chapters 01 and 02)."""
    visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", study.preset.space, subject)
    ncsnr = nsd.ncsnr(study.root, subject, study.preset.space)[visual]
    showings = study.tables[subject].query("shared").groupby("image_id").size().to_numpy()
    return {
        "one_showing": nsd.noise_ceiling(ncsnr, 1).mean(),
        "test_pictures": nsd.noise_ceiling(ncsnr, showings).mean(),
    }


def penalty_curves(study, subject):
    """Return R2 of z decoded from early cortex, (n_alphas, 2): images fitted to, others (chapter 04)."""
    betas, ids, _ = decoding.read(study, subject).averages(decoding.regions(study.preset)["z"])[0]
    z = targets.target(study, "z", ids).flatten(1).numpy()
    half = np.random.default_rng(0).permutation(len(ids)) < len(ids) // 2
    scores = []
    for alpha in ALPHAS:
        ridge = Ridge(alpha, zscore=True).fit(betas[half], z[half])
        scores.append([ridge.score(betas[rows], z[rows]).mean() for rows in (half, ~half)])
    return {"penalty_r2": np.array(scores)}


def psnr_of_z(study):
    """Return how well z keeps each test image, in decibels (n_images,) (chapter 03)."""
    vae, n = study.model.vae, study.preset.batch_size
    latents = features.encode_images(vae, study.originals, n)
    again = features.decode_latents(vae, latents, n).clamp(0, 1).cpu()
    return -10 * ((again - study.originals) ** 2).mean(dim=(1, 2, 3)).log10().numpy()


def make(study, subject):
    """Compute the numbers of one subject, and what the film needs of the first."""
    found = share_that_repeats(study, subject) | penalty_curves(study, subject)
    if subject == study.subjects[0]:
        rows = rows_of(study.image_ids, pictured_ids(study))
        film = rows[:N_FILMS]
        z, c = drawings.z_and_c(study, subject, "ridge")
        visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", study.preset.space, subject)
        test, ids, _ = nsd.image_responses(
            study.root, subject, study.preset.space, study.preset.sessions, visual
        )[1]
        found |= {
            "psnr": psnr_of_z(study).astype(np.float16),
            "film_z": z[film].cpu().numpy().astype(np.float16),
            "film_c": c[film].cpu().numpy().astype(np.float16),
            "film_betas": test[rows_of(ids, study.image_ids[film])].astype(np.float16),
            "vertices": np.flatnonzero(visual).astype(np.int32),
            "originals": drawings.to_bytes(study.originals[torch.from_numpy(rows)]),
        }
    return found


def gather(study, load):
    """Put the parts together: (subject, ...) for numbers, the first subject's arrays as they are."""
    parts = [load(subject) for subject in study.subjects]
    each = ("one_showing", "test_pictures", "penalty_r2")
    arrays = {name: np.array([part[name] for part in parts]) for name in each}
    arrays |= {name: of for name, of in parts[0].items() if name not in each}
    arrays |= {"originals_ids": pictured_ids(study), "alphas": ALPHAS}
    return {"": (arrays, {"subjects": study.subjects, "n_films": N_FILMS})}


def make_job(study, _args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "What the front page shows")
    parts = [(subject,) for subject in study.subjects]
    described = study.description(*drawings.NETWORKS, pictured=pictured_ids(study).tolist())
    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
