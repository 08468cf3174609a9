"""What simulated vertices are tuned to: receptive fields, maps of the picture, scene variables."""

import numpy as np

from latentcortex.mini import scenes, surface, tuning


def test_receptive_fields_sum_to_one_and_point_at_the_right_place_of_the_picture():
    x, y, size = np.array([[2.0, 2.0, 0.7], [-3.0, 1.0, 0.5], [0.0, -2.5, 0.6]]).T
    fields = tuning.receptive_fields(x, y, size)
    np.testing.assert_allclose(fields.sum(1), 1, rtol=1e-5)
    n, degrees = tuning.MAP_SIZE, surface.IMAGE_DEGREES
    # By a double loop: rows run from top to bottom, columns from left to right.
    for k in range(3):
        expected = np.zeros((n, n))
        for row in range(n):
            for column in range(n):
                right = (column + 0.5) / n * degrees - degrees / 2
                up = degrees / 2 - (row + 0.5) / n * degrees
                distance = (right - x[k]) ** 2 + (up - y[k]) ** 2
                expected[row, column] = np.exp(-distance / (2 * size[k] ** 2))
        np.testing.assert_allclose(fields[k], expected.ravel() / expected.sum(), atol=1e-6)


def test_a_light_in_a_corner_excites_the_fields_of_that_corner():
    images = np.full((4, 64, 64, 3), 100, np.uint8)
    images[0, 8:20, 44:56] = 255  # upper right
    images[1, 8:20, 8:20] = 255
    images[2, 44:56, 8:20] = 255
    images[3, 44:56, 44:56] = 255
    maps = tuning.low_level_maps(images)
    assert maps.shape == (4, 11, 32, 32)
    x, y = np.array([2.4, -2.4, -2.4, 2.4]), np.array([2.4, 2.4, -2.4, -2.4])
    fields = tuning.receptive_fields(x, y, np.full(4, 0.6))
    for channel in (0, 3, 5):  # luminance and contrast energy
        answers = maps[:, channel].reshape(4, -1) @ fields.T
        np.testing.assert_array_equal(answers.argmax(1), np.arange(4))


def test_contrast_energy_tells_orientation_and_colour_channels_tell_colour():
    wave = np.round(127.5 + 100 * np.sin(np.arange(64))).astype(np.uint8)
    vertical = np.broadcast_to(wave[None, :, None], (64, 64, 3))
    plain = np.zeros((2, 64, 64, 3), np.uint8)
    plain[0, ..., 0], plain[1, ..., 2] = 200, 200  # red, blue
    images = np.stack([vertical, vertical.transpose(1, 0, 2), *plain])
    maps = tuning.low_level_maps(images).mean((2, 3))
    energy = maps[:2, 3:].reshape(2, len(tuning.SCALES), tuning.N_ORIENTATIONS)
    assert (energy[0].argmax(1) == 0).all() and (energy[1].argmax(1) == 2).all()
    assert maps[2, 1] > 0.5 > maps[3, 1] and maps[3, 2] > 0.5 > maps[2, 2]
    assert (maps[2:, 3:] < 0.01).all()


def test_semantic_variables_say_what_there_is_and_where(rng):
    drawn = scenes.sample_scenes(40, rng)
    table = scenes.ground_truth(drawn)
    variables = tuning.scene_variables(drawn)
    assert variables.shape == (40, tuning.N_SCENE_VARIABLES)
    n_settings, n_times = len(scenes.SETTINGS), len(scenes.TIMES)
    settings = np.array(scenes.SETTINGS)[variables[:, :n_settings].argmax(1)]
    assert settings.tolist() == table["setting"].tolist()
    times = np.array(scenes.TIMES)[variables[:, tuning.TIME_COLUMNS].argmax(1)]
    assert times.tolist() == table["time"].tolist()
    kinds = variables[:, n_settings + n_times : n_settings + n_times + len(scenes.KINDS)]
    assert kinds.sum(1).tolist() == table["n_things"].tolist() == (1 + variables[:, -1]).tolist()
    assert (variables[:, tuning.COLOUR_COLUMNS].sum(1) <= table["n_things"]).all()
    # A field over the thing on the left sees its kind; one at the right edge does not.
    for scene, row in zip(drawn, table.itertuples(), strict=True):
        if row.n_things == 2:
            x, y = np.array([4.2 * row.image_x_1, 4.2]), np.full(2, 4.2 * row.image_y_1)
            there = tuning.kinds_in_fields([scene], x, y, np.full(2, 0.5))[0]
            own = scenes.KINDS.index(row.kind_1)
            assert there[own, 0] > 0.9 > 0.1 > there[own, 1]
            assert there[scenes.KINDS.index(scenes.HELD_BACK_KIND)].max() == 0
