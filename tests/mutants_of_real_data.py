"""Defects that real data and machines bring out, for `mutants.py`: each was in the code once."""

SESSIONS = "test_real_sizes.py::test_the_sessions_of_the_preset_are_those_that_are_read"
BATCHES = "test_real_sizes.py::test_networks_get_batches_and_numbers_of_the_preset"
DEVICES = "test_real_sizes.py::test_regressions_run_on_the_device_of_the_preset"
FEW_AT_A_TIME = "test_real_sizes.py::test_images_are_averaged_and_seen_by_networks_a_few_at_a_time"
PRODUCTS = "test_results.py::test_products_are_named_by_what_the_data_hold_wherever_they_lie"
WITHOUT_SESSION = "test_a_session_that_is_not_read_says_nothing_of_vertices_and_images"
REFUSED = "test_criteria_that_these_images_do_not_allow_are_refused_before_the_first_drawing"
OF_ONE_SUBJECT = "test_regions_of_one_subject_come_to_fsaverage_by_the_nearest_vertex"
NOT_DRAWN = "test_real_sizes.py::test_areas_that_are_not_drawn_are_left_out_and_named"

# defect, file, the sound line, the line with the defect, the test that must fail
MUTANTS_OF_REAL_DATA = [
    (
        "all sessions of the log, however few are on disk",
        "nsd/design.py",
        'return table[table["session"].isin(on_disk)].reset_index(drop=True)',
        "return table",
        "test_nsd_downloads.py::test_sessions_that_are_not_on_disk_are_left_out_by_default",
    ),
    (
        "trials of other sessions than the preset's",
        "studies/study.py",
        "nsd.trials(self.root, subject, sessions)",
        "nsd.trials(self.root, subject)",
        SESSIONS,
    ),
    (
        "responses of other sessions than the preset's",
        "studies/decoding.py",
        "study.preset.space, study.preset.sessions)",
        "study.preset.space)",
        SESSIONS,
    ),
    (
        "vertices left out because of a session that is not read",
        "studies/maps.py",
        "nsd.finite_mask(root, subject, preset.space, preset.sessions)",
        "nsd.finite_mask(root, subject, preset.space)",
        f"test_real_sizes.py::{WITHOUT_SESSION}",
    ),
    (
        "a report without the sessions that are on disk",
        "presets/preset.py",
        'lines["Sessions"] = self._sessions_found()',
        "pass",
        "test_presets.py::test_the_report_says_how_many_sessions_are_on_disk",
    ),
    (
        "measured data reported as simulated",
        "presets/preset.py",
        'data = "simulated (mini)" if self.data == "mini" else os.path.expandvars(self.data)',
        'data = "simulated (mini)"',
        "test_presets.py::test_the_report_says_how_many_sessions_are_on_disk",
    ),
    (
        "photographs judged by the criteria of rendered scenes",
        "studies/validation.py",
        "known = metrics.protocol(preset.protocol).criteria",
        'known = metrics.PROTOCOLS["mini"].criteria',
        "test_live_scores.py::test_criteria_stand_in_for_what_a_protocol_of_photographs_lacks",
    ),
    (
        "networks of rendered scenes loaded for photographs",
        "studies/scores.py",
        'networks.load_instruments() if asked & {"small_alexnet", "judge"} else {}',
        "networks.load_instruments()",
        "test_availability.py::test_the_networks_of_the_scores_come_from_the_folder_of_the_judge",
    ),
    (
        "criteria that can't be computed found out after the drawing",
        "studies/validation.py",
        "        if lacking:\n",
        "        if False:\n",
        f"test_choosing.py::{REFUSED}",
    ),
    (
        "regions of one subject asked of the common surface",
        "nsd/regions.py",
        'is_own = space == "nativesurface" or not _is_common(root, atlas)',
        'is_own = space == "nativesurface"',
        f"test_nsd_downloads.py::{OF_ONE_SUBJECT}",
    ),
    (
        "vertices of two surfaces paired by their numbers",
        "nsd/spheres.py",
        "cKDTree(own).query(common)[1]",
        "np.arange(len(common))",
        f"test_nsd_downloads.py::{OF_ONE_SUBJECT}",
    ),
    (
        "areas left out without a word",
        "studies/maps.py",
        '        print(f"Nothing is marked here',
        '        str(f"Nothing is marked here',
        NOT_DRAWN,
    ),
    (
        "all images of a subject in memory",
        "studies/targets.py",
        "    for start in range(0, len(image_ids), n):\n",
        "    n = len(image_ids)\n    for start in range(0, len(image_ids), n):\n",
        FEW_AT_A_TIME,
    ),
    (
        "all of cortex in memory",
        "studies/image_splits.py",
        "known[start : start + maps.N_IN_BLOCK]",
        "known[start:]",
        "test_real_sizes.py::test_a_split_is_read_in_blocks_as_at_once",
    ),
    (
        "all drawings in memory",
        "studies/scores.py",
        "for images in drawn:",
        "for images in list(drawn):",
        "test_real_sizes.py::test_several_drawings_are_scored_one_at_a_time",
    ),
    (
        "a whole session of the surface in memory",
        "nsd/surfaces.py",
        "halves = [_open(path, n_trials) for path in paths]\n        left",
        "halves = [np.array(_open(path, n_trials)) for path in paths]\n        left",
        "test_nsd_spaces.py::test_a_session_on_the_surface_is_read_in_little_memory",
    ),
    (
        "images encoded in batches of a size of their own",
        "studies/targets.py",
        "features.encode_images(study.model.vae, images, preset.batch_size)",
        "features.encode_images(study.model.vae, images)",
        BATCHES,
    ),
    (
        "images drawn in batches of a size of their own",
        "presets/preset.py",
        '"guidance_scale", "batch_size")',
        '"guidance_scale")',
        BATCHES,
    ),
    (
        "networks in float32, whatever the preset says",
        "studies/study.py",
        "preset.revision, preset.dtype, preset.device)",
        "preset.revision, device=preset.device)",
        BATCHES,
    ),
    (
        "decoders fitted on the CPU next to a GPU",
        "studies/decoding.py",
        'cv="gcv", device=study.preset.device)',
        'cv="gcv")',
        DEVICES,
    ),
    (
        "all targets sent to the GPU at once",
        "ridge/regression.py",
        "        rows, weights = X.to(self.device or home)",
        "        Y = Y.to(self.device or home)\n        rows, weights = X.to(self.device or home)",
        "test_ridge_devices.py::test_the_targets_go_to_the_device_block_by_block",
    ),
    (
        "a decomposition for each target",
        "ridge/decomposition.py",
        "    if key != _LAST[0]:\n",
        "    if True:\n",
        "test_ridge_devices.py::test_targets_of_the_same_rows_share_one_decomposition",
    ),
    (
        "memory that runs out ends the run",
        "features/batches.py",
        '        self.error = str(error).split(". ")[0]\n        return True\n',
        "        return False\n",
        "test_batches.py::test_a_batch_is_halved_and_stays_so",
    ),
    (
        "smaller batches without a word",
        "features/batches.py",
        "_LOG.warning(",
        "_LOG.debug(",
        "test_batches.py::test_a_batch_is_halved_and_stays_so",
    ),
    (
        "networks that are missed after hours",
        "studies/study.py",
        "        availability.check_networks(self.preset, networks)\n",
        "",
        "test_availability.py::test_a_study_looks_before_it_names_its_networks",
    ),
    (
        "an error of the hub without what to do",
        "studies/availability.py",
        "    except Exception as error:",
        "    except ZeroDivisionError as error:",
        "test_availability.py::test_a_model_that_is_nowhere_is_named_with_what_to_do",
    ),
    (
        "products named by the folder of the data",
        "studies/results.py",
        "    identity = nsd.identity(root, preset.subject_names, preset.space)\n",
        "    identity = Path(root).name\n",
        PRODUCTS,
    ),
    (
        "data known by where they lie",
        "nsd/identity.py",
        "path.relative_to(root).as_posix()",
        "path.as_posix()",
        "test_studies.py::test_the_identity_of_data_is_that_of_files_not_of_folders",
    ),
]
