"""Plant defects, one at a time, and name the test that must fail for each: python tests/mutants.py.

Each defect is one that would ruin the science without an error. It is planted in a copy of the
package; the project itself is not touched. Prints a line a defect; exits 1 if any survives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutants_of_networks import MUTANTS_OF_NETWORKS
from mutants_of_real_data import MUTANTS_OF_REAL_DATA

ROOT = Path(__file__).resolve().parents[1]

# defect, file, the sound line, the line with the defect, the test that must fail
MUTANTS = [
    (
        "ridge without intercept",
        "ridge/regression.py",
        "intercept -= decomposition.mean.to(home) @ coef",
        "intercept -= 0 * (decomposition.mean.to(home) @ coef)",
        "test_ridge.py::test_equals_scikit_learn_with_a_penalty_per_target",
    ),
    (
        "ungrouped folds",
        "ridge/regression.py",
        "splitter = KFold(self.cv) if groups is None else GroupKFold(self.cv)",
        "splitter = KFold(self.cv)",
        "test_ridge_penalties.py::test_groups_never_part",
    ),
    (
        "generalised cross-validation on repeats",
        "ridge/regression.py",
        "if n_groups < len(X):",
        "if n_groups < 0:",
        "test_ridge.py::test_errors",
    ),
    (
        "trace without the intercept",
        "ridge/cross_validation.py",
        "freedom = n_samples - 1 - len(eigenvalues)",
        "freedom = n_samples - len(eigenvalues)",
        "test_ridge.py::test_generalised_cross_validation_equals_brute_force",
    ),
    (
        "columns of a fold centred by all rows",
        "ridge/cross_validation.py",
        "rows, _, _ = standardise(X, of_train, zscore)",
        "rows, _, _ = standardise(X, weights, zscore)",
        "test_ridge.py::test_grouped_folds_equal_brute_force",
    ),
    (
        "held-out residuals without the intercept",
        "ridge/cross_validation.py",
        "    Q = Q - u[:, None] * (u @ Q)\n",
        "",
        "test_ridge.py::test_grouped_folds_equal_brute_force",
    ),
    (
        "targets that nothing predicts choose the shared penalty",
        "ridge/regression.py",
        'if self.criterion == "uniform_average" or not weights.any():',
        "if True:",
        "test_ridge_penalties.py::test_targets_that_nothing_predicts_do_not_choose_the_shared_penalty",
    ),
    (
        "repeats as test rows of an encoder",
        "encoding/encoder.py",
        "            check_no_repeats(image_ids)\n",
        "",
        "test_ridge_rows.py::test_repeats_may_be_decoded_but_are_no_test_rows_of_an_encoder",
    ),
    (
        "image ids off by one",
        "nsd/design.py",
        "image_id = subjectim[row, order[: len(responses)]]\n    wrong",
        "image_id = subjectim[row, order[: len(responses)]] - 1\n    wrong",
        "test_nsd.py::test_image_ids_by_the_design_are_those_of_the_log",
    ),
    (
        "scaler fitted on all rows",
        "nsd/repeats.py",
        "fit = betas[rows[is_train[rows]]]",
        "fit = betas[rows]",
        "test_nsd_repeats.py::test_test_trials_move_nothing_on_the_training_side",
    ),
    (
        "hemispheres swapped",
        "nsd/surfaces.py",
        "pairs = zip(halves, left_right",
        "pairs = zip(halves[::-1], left_right",
        "test_nsd.py::test_betas_are_read_as_written_left_hemisphere_first",
    ),
    (
        "volumes not divided by 300",
        "nsd/volumes.py",
        "out /= SCALE",
        "out /= 1",
        "test_nsd_spaces.py::test_volumes_hold_what_the_surface_holds_to_a_three_hundredth",
    ),
    (
        "axes of hdf5 volumes not turned round",
        "nsd/volumes.py",
        "index[(*box, k)].T[there]] = slab[:, there]",
        "index[(*box, k)][there.T]] = slab[:, there]",
        "test_nsd_spaces.py::test_volumes_hold_what_the_surface_holds_to_a_three_hundredth",
    ),
    (
        "NIfTI read from the header on",
        "nsd/volumes.py",
        "file.seek(image.dataobj.offset)",
        "file.seek(0)",
        "test_nsd_spaces.py::test_volumes_hold_what_the_surface_holds_to_a_three_hundredth",
    ),
    (
        "checksum of a packed volume never reached",
        "nsd/volumes.py",
        "if file.read(1):",
        "if False:",
        "test_nsd_spaces.py::test_flipped_bits_in_packed_volumes_are_told",
    ),
    (
        "identification in the other direction",
        "metrics/identify.py",
        'if direction == "reconstruction" else',
        'if direction != "reconstruction" else',
        "test_metrics.py::test_identification_equals_a_double_loop",
    ),
    (
        "distractors of all groups",
        "metrics/identify.py",
        "others = group[some, None] == group",
        "others = group[some, None] == group[some, None] + 0 * group",
        "test_identify.py::test_knowing_the_group_does_not_help_among_images_of_the_group",
    ),
    (
        "ties count as wins",
        "metrics/identify.py",
        "chance += ways / (tied + 1)",
        "chance += ways",
        "test_metrics.py::test_collapsed_reconstructions_are_at_chance_whatever_the_rounding",
    ),
    (
        "bootstrap intervals of 90 % called 95 %",
        "metrics/intervals.py",
        "np.quantile(means, [(1 - level) / 2, (1 + level) / 2])",
        "np.quantile(means, [1 - level, level])",
        "test_metrics.py::test_the_ends_of_a_bootstrap_are_the_percentiles_that_they_are_called",
    ),
    (
        "t intervals of 90 % called 95 %",
        "metrics/intervals.py",
        "stats.t.ppf((1 + level) / 2,",
        "stats.t.ppf(level,",
        "test_metrics.py::test_t_interval_equals_scipy",
    ),
    (
        "an own reconstruction among its distractors",
        "metrics/identify.py",
        "others[np.arange(len(own)), own] = False",
        "others[np.arange(len(own)), own] = True",
        "test_identify.py::test_n_way_identification_is_the_mean_over_all_galleries",
    ),
    (
        "batches of images compared with the first ones",
        "metrics/identify.py",
        "own = np.arange(some.start, some.stop)",
        "own = np.arange(some.stop - some.start)",
        "test_identify.py::test_batches_of_images_do_not_change_the_result",
    ),
    (
        "pixels of a mean image in 0 to 255",
        "metrics/images.py",
        'mean_image = pictures("mean_image", mean_image, ndim=3)',
        "mean_image = np.asarray(mean_image)",
        "test_metrics_arguments.py::test_a_mean_image_of_bytes_no_longer_makes_unrelated_images_alike",
    ),
    (
        "p-values not corrected",
        "encoding/significance.py",
        "adjusted[tested] = stats.false_discovery_control(adjusted[tested])",
        "adjusted[tested] = adjusted[tested]",
        "test_encoding.py::test_false_discoveries_stay_below_q_and_do_not_without_the_correction",
    ),
    (
        "a decoder tested on what it has learned from",
        "ridge/rows.py",
        "both = np.intersect1d(image_ids, learned)",
        "both = np.intersect1d(image_ids, learned)[:0]",
        "test_decoders.py::test_a_decoder_refuses_to_be_tested_on_what_it_has_learned_from",
    ),
    (
        "MindEye2's images antialiased",
        "metrics/protocols.py",
        'plain = {"antialias": False}',
        'plain = {"antialias": True}',
        "test_protocols.py::test_networks_layers_and_views_are_those_of_the_sources",
    ),
    (
        "a protocol's first size skipped",
        "metrics/scoring.py",
        "networks[network](view(protocol.first(images)), list(layers))",
        "networks[network](view(images), list(layers))",
        "test_protocols.py::test_images_are_brought_to_a_protocols_first_size_before_anything_else",
    ),
    (
        "Inception sees pixels of another scale",
        "metrics/networks.py",
        '{"transform_input": True, "init_weights": False}',
        '{"transform_input": False, "init_weights": False}',
        "test_protocols.py::test_inception_is_told_to_transform_its_input",
    ),
    (
        "a resized image of one colour is correlated",
        "metrics/scoring.py",
        "FLAT = 1e-5",
        "FLAT = 0",
        "test_protocols.py::test_one_colour_is_refused_by_its_row_though_resizing_makes_it_vary",
    ),
    (
        "bottleneck a dimension too wide",
        "metrics/baselines.py",
        "directions[sizes > 1e-10 * sizes[0]][:n_dimensions]",
        "directions[sizes > 1e-10 * sizes[0]][: n_dimensions and n_dimensions + 1]",
        "test_baselines.py::test_a_bottleneck_lets_so_many_dimensions_through",
    ),
    (
        "shuffled reconstructions of which some stay",
        "metrics/baselines.py",
        "if (rows != np.arange(n)).all():",
        "if (rows != np.arange(n)).any():",
        "test_baselines.py::test_shuffled_rows_keep_none_in_its_place_and_are_drawn_evenly",
    ),
    (
        "retrieval of images and of brains exchanged",
        "metrics/identify.py",
        'for direction in ("reconstruction", "original")\n    ]\n    return tuple(found)',
        'for direction in ("original", "reconstruction")\n    ]\n    return tuple(found)',
        "test_identify.py::test_retrieval_agrees_with_drawn_galleries",
    ),
    (
        "a further session that is not scaled",
        "nsd/synthetic.py",
        "average_repeats(zscore(betas, None, np.ones(len(order), bool)), order)",
        "average_repeats(betas, order)",
        "test_nsd_synthetic.py::test_responses_are_scaled_within_the_session_and_averaged",
    ),
    *MUTANTS_OF_NETWORKS,
    *MUTANTS_OF_REAL_DATA,
]


def run(package_parent, test):
    """Return pytest's exit status with the package taken from `package_parent`."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{test}"]
    environment = {**os.environ, "PYTHONPATH": str(package_parent), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode


def main():
    survived = []
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "latentcortex"
        shutil.copytree(ROOT / "src" / "latentcortex", package)
        for defect, name, sound, broken, test in MUTANTS:
            path = package / name
            text = path.read_text()
            if text.count(sound) != 1:
                raise SystemExit(f"{name} holds {text.count(sound)} times: {sound!r}. Update me.")
            before = run(folder, test)
            path.write_text(text.replace(sound, broken))
            after = run(folder, test)
            path.write_text(text)
            caught = before == 0 and after == 1
            survived += [] if caught else [defect]
            word = "caught" if caught else f"SURVIVED (sound {before}, broken {after})"
            print(f"{word:8} {defect}: {test}", flush=True)
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
