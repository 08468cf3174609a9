"""Whether maps rank vertices by what they answer to when one thing in a scene is edited.

The maps are those of ch13_recover_maps, in three worlds with three seeds, at the planted noise. There they
are compared with the planted mixture, the low-level share of a vertex's variance over ordinary images. Here
they are also compared with the causal share. In 100 test scenes one thing is removed, moved or recoloured,
and the causal share is that of the low-level term in the sum of both terms' squared changes, without what
they do together. It is known without noise.

Intervals are over vertices alone. They ignore how much results depend on seeds and scenes, and the lead of a
method that was chosen as the best is biased upwards. The script also prints in how many of the seeds the
best method by the mixture is the best by the causal share.

What we expect, written before the first run. The correlations of maps with the mixture were known from
ch13_recover_maps. No causal share had been computed.

- The causal share is below the mixture in most vertices of `standard`. A thing covers a small part of the
  picture, so most receptive fields of early cortex do not see it, but it is a large part of what there is to
  name. Moved things are the exception: alone in their scene, they leave all scene variables as they were. So
  shares are highest for moved things and lowest for removed things.
- Rank correlation of mixture and causal share over vertices: 0.85 to 0.95 in `standard`, and within 0.03 of
  that in `correlated`, because edits ignore how images are correlated. Lower in `swapped`, 0.7 to 0.9: large
  receptive fields average a thing away, and there they are the low-level ones. By edit: 0.75 to 0.95 for
  removed and recoloured things, 0.6 to 0.85 for moved ones, because what counts is where a thing can stand.
- Against the causal share, methods lose up to 0.08 compared with the mixture, because all of them fit the
  variance over ordinary images. The r of the first space alone loses least or gains, because it depends on
  the position of a receptive field as the causal share does.
- Methods keep their order: the rank correlation of their two columns is above 0.9 in `standard` and
  `correlated`, and above 0.8 in `swapped`. Of the best five by the mixture, at least four are among the best
  five by the causal share. The interval of the lead of the best over the second covers 0 in both columns.
- From `standard` to `correlated`, methods lose as much against the causal share as against the mixture,
  within 0.03. It is tempting to expect a larger loss, because edits separate what correlated images blur.
  But the maps are the same, and the two truths rank vertices almost alike.
- Spread: the range over the three seeds is 0.05 to 0.1 for each correlation, more than most leads.
- Most vertices answer: the median change is 0.1 to 0.4 (another ordinary image is 1), and it is below 0.02 in
  fewer than a tenth of the vertices. It is largest for removed things.
"""

import numpy as np
from scipy import stats

from latentcortex.studies import jobs, product
from latentcortex.studies.recovery_edits import ROWS
from latentcortex.studies.recovery_methods import METHODS
from latentcortex.studies.recovery_ranks import TRUTHS, compare, score_cell
from latentcortex.studies.recovery_worlds import SEEDS, Sizes, chosen_vertices

NETWORKS = ("vae", "text_encoder", "tokenizer", "guide")
WORLDS = ("standard", "swapped", "correlated")
NOISE = 1.0
SIZES = Sizes()
LARGEST_DIFFERENCE = 0.02  # from ch13_recover_maps; another machine may swap neighbours in rank
SEED_KEPT = SEEDS[0]  # whose vertices are kept one by one


def make(study, world, seed):
    """Score all methods of one cell against both truths."""
    return score_cell(study, METHODS, world, NOISE, seed, SIZES)


def gather(study, load):
    """Stack the correlations, compare methods in each world, and keep the vertices of one seed."""
    found = jobs.stacked(load, WORLDS, SEEDS)
    spearman = found["spearman"]
    compared = [compare(of, draws) for of, draws in zip(spearman, found["draws"], strict=True)]
    arrays = {
        "spearman": spearman,
        **{name: np.stack([of[name] for of in compared]).astype(np.float32) for name in compared[0]},
        **{name: found[name][:, SEEDS.index(SEED_KEPT)] for name in ("mixture", "share", "change")},
        "n_edits": found["n_edits"],
    }
    vertices, regions = chosen_vertices(SEED_KEPT, SIZES.n_vertices)
    report(arrays)
    provenance = {
        "worlds": WORLDS,
        "seeds": SEEDS,
        "noise": NOISE,
        "maps": [*METHODS, "mixture"],
        "truths": TRUTHS,
        "edits": ROWS,
        "seed_kept": SEED_KEPT,
        "regions": regions.tolist(),
        "difference_from_maps": difference_from_maps(study, found["score"]),
        "axes": {
            "spearman": ["world", "seed", "map", "truth"],
            "mean": ["world", "map", "truth", "value, low, high"],
            "gain": ["world", "method", "value, low, high"],
            "lead": ["world", "mixture or causal share", "method", "minus method", "value, low, high"],
            "mixture": ["world", "vertex"],
            "share": ["world", "edits", "vertex"],
            "change": ["world", "edits", "vertex"],
            "n_edits": ["world", "seed", "edits"],
        },
    }
    return {"": ({**arrays, "vertices": vertices.astype(np.int32)}, provenance)}


def report(arrays):
    """Print how maps are correlated with both truths, and whether methods keep their order."""
    mixture, causal = TRUTHS.index("mixture"), TRUTHS.index("all")
    for w, world in enumerate(WORLDS):
        print(f"\n{world}: rank correlation with the mixture, with the causal share, and their difference")
        for k, name in enumerate([*METHODS, "mixture"]):
            of_seeds = arrays["spearman"][w, :, k]
            by_edit = " ".join(f"{of:.2f}" for of in of_seeds[:, causal + 1 :].mean(0))
            line = f"{name:16s} {of_seeds[:, mixture].mean():.2f}  {of_seeds[:, causal].mean():.2f}"
            line += f" (seeds {of_seeds[:, causal].min():.2f} to {of_seeds[:, causal].max():.2f}"
            line += f"; {', '.join(ROWS[1:])} {by_edit})"
            if name in METHODS:
                line += "  {:+.3f} ({:+.3f} to {:+.3f})".format(*arrays["gain"][w, k])
            print(line)
        columns = arrays["spearman"][w, :, :-1].mean(0)
        kept = stats.spearmanr(columns[:, mixture], columns[:, causal]).statistic
        print(f"order of the methods: rank correlation {kept:.2f}")
        best = arrays["spearman"][w, :, :-1].argmax(axis=1)  # of each seed, by each truth
        same = (best[:, mixture] == best[:, causal]).sum()
        print(
            f"the best method by the mixture is the best by the causal share in {same} of {len(best)} seeds"
        )
        print("median change of a vertex, and share of vertices below 0.02, by edits:")
        for k, name in enumerate(ROWS):
            change = arrays["change"][w, k][np.isfinite(arrays["mixture"][w])]
            print(f"  {name:10s} {np.median(change):.3f}  {(change < 0.02).mean():.2f}")


def difference_from_maps(study, score):
    """Return the largest difference from the correlations of ch13_recover_maps, None without it.

    Raises
    ------
    ValueError
        If the difference is above `LARGEST_DIFFERENCE`, because the maps are then not the same ones.
    """
    maps = product("ch13_recover_maps", study.root)
    if not maps:
        return None
    axes = maps.provenance
    places = [[axes["worlds"].index(of) for of in WORLDS], [axes["noise"].index(NOISE)]]
    places += [[axes["seeds"].index(of) for of in SEEDS], [axes["methods"].index(of) for of in METHODS]]
    known = maps["spearman"][..., 0][np.ix_(*places)][:, 0]
    largest = float(np.abs(known - score).max())
    print(f"Largest difference from the correlations of {maps.path.name}: {largest:.2g}")
    if not largest <= LARGEST_DIFFERENCE:  # NaN as well
        raise ValueError(
            f"Correlations with the mixture differ by up to {largest:.2g} from those of {maps.path.name}. "
            f"At most {LARGEST_DIFFERENCE} was expected, because the maps should be the same. Run "
            "ch13_recover_maps again, or find out which of the two has changed."
        )
    return largest


def make_job(study, _args):
    """Cut the work into cells, those of a seed together."""
    jobs.check_simulated(study, "What a vertex answers to when one thing is edited")
    parts = [(world, seed) for seed in SEEDS for world in WORLDS]
    described = {"weights": study.weights(*NETWORKS), "seed": 0}
    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
