"""The quizzes: what travels with a page, who is right, and which input is refused."""

import base64
import html
import io
import re

import numpy as np
import pytest
from PIL import Image
from quiz_pages import ANSWERS, POOL, WAYS, N, brain, pictures, setup_of, similar, which
from viewer_pages import Elements

from latentcortex.plotting.quiz import offered_candidates


def pixels(address):
    kind, data = address.split(";base64,")
    assert kind == "data:image/webp"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).transpose(2, 0, 1) / 255


def test_the_pictures_that_travel_are_those_passed_in():
    setup = setup_of(which())
    for address, image in zip(setup["pictures"], pictures(N), strict=True):
        assert np.abs(pixels(address) - image).mean() < 0.05
    others = np.array([np.abs(pixels(setup["pictures"][0]) - image).mean() for image in pictures(N)[1:]])
    assert others.min() > 0.15  # so that 0.05 tells pictures apart


def test_each_question_offers_the_right_image_once_and_no_image_twice():
    setup, pool = setup_of(which()), pictures(POOL, 5)
    sent = np.array([pixels(address) for address in setup["pool"]])
    for n_way, offered, right in zip(WAYS, setup["offered"], setup["right"], strict=True):
        for k, (row, place) in enumerate(zip(offered, right, strict=True)):
            assert len(set(row)) == len(row) == n_way
            assert np.abs(sent[row[place]] - pool[ANSWERS[k]]).mean() < 0.05


def test_more_candidates_hold_the_fewer_ones_and_the_right_place_is_random():
    answers = np.repeat(np.arange(10), 40)
    offered = offered_candidates(answers, 10, (2, 5), np.random.default_rng(0))
    assert all(set(few) <= set(many) for few, many in zip(offered[2], offered[5], strict=True))
    places = (offered[5] == answers[:, None]).argmax(1)
    counts = np.bincount(places, minlength=5)
    assert counts.min() > 50 and counts.sum() == 400  # 80 are expected, with a deviation of 8
    distractors = np.bincount(offered[5].ravel(), minlength=10)
    assert distractors.min() > 150  # 200 are expected


def test_the_seed_decides_everything():
    assert which() == which()
    assert which() != which(rng=np.random.default_rng(4))


def test_rivals_pick_the_most_similar_candidate_offered_by_brute_force():
    values = similar()
    rng = np.random.default_rng(3)
    offered = offered_candidates(ANSWERS, POOL, WAYS, rng)
    setup = setup_of(which())
    for w, n_way in enumerate(WAYS):
        n_right = 0
        for k in range(N):
            best, at = -np.inf, None
            for place, row in enumerate(offered[n_way][k]):
                if values[k, row] > best:
                    best, at = values[k, row], place
            assert setup["rivals"][0]["picks"][w][k] == at
            n_right += offered[n_way][k][at] == ANSWERS[k]
        picks = np.array(setup["rivals"][0]["picks"][w])
        assert n_right == (picks == np.array(setup["right"][w])).sum()


def test_a_rival_that_knows_is_always_right_and_one_that_ties_picks_at_random():
    knows = np.eye(POOL)[ANSWERS]
    of = setup_of(which(rivals={"knows": knows, "knows not": -knows}))
    right = np.array(of["right"])
    np.testing.assert_array_equal(of["rivals"][0]["picks"], right)
    assert not (np.array(of["rivals"][1]["picks"]) == right).any()
    many = {"reconstructions": pictures(200), "answers": np.arange(200) % POOL}
    ties = setup_of(which(**many, rivals={"ties": np.zeros((200, POOL))}))
    found = (np.array(ties["rivals"][0]["picks"]) == np.array(ties["right"])).mean(1)
    np.testing.assert_allclose(found, 1 / np.array(WAYS), atol=0.11)  # 3 deviations of the first


@pytest.mark.parametrize("page", [which, brain])
def test_a_page_asks_nothing_of_the_network_and_has_no_ids(page):
    made = page()
    elements = Elements(made)
    assert not re.findall(r"https?:|//\w", re.sub(r"base64,[\w+/=]+", "", made).replace("// ", ""))
    assert all(src.startswith("data:image/webp;base64,") for src in [a["src"] for a in elements.of("img")])
    assert not [a for _, a in elements.found if "id" in a]
    assert [a for a in elements.of("img") if not a["alt"].strip()] == []
    (box,) = [a for a in elements.of("div") if a.get("class") == "latentcortex-quiz"]
    assert box["role"] == "group"
    assert made.count("<script>") == made.count("</script>") == 1


def test_texts_are_escaped():
    made = which()
    assert "Which was &lt;seen&gt;?" in made and "<seen>" not in made
    assert setup_of(made)["rivals"][0]["name"] == "the <judge>"


def test_descriptions_travel_with_their_pictures():
    words = [f"drawn {k}" for k in range(N)], [f"seen {k}" for k in range(POOL)]
    setup = setup_of(which(descriptions=words, n_ways=(2,)))
    assert setup["of_pictures"] == words[0]
    for k, (row, place) in enumerate(zip(setup["offered"][0], setup["right"][0], strict=True)):
        assert setup["of_pool"][row[place]] == f"seen {ANSWERS[k]}"


def test_the_brain_quiz_knows_labels_and_mean_identification():
    setup = setup_of(brain())
    assert setup["needed"] == [True, False, False, True]
    assert setup["identified"] == pytest.approx([0.9, 0.5])
    assert "decoded" in setup["names"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reconstructions": pictures(N) * 255}, r"reconstructions: expected values in \[0, 1\]"),
        ({"candidates": pictures(POOL)[0]}, "candidates: expected images of the shape"),
        ({"candidates": pictures(POOL, 5)[[0, 1, 2, 3, 4, 5, 6, 7, 0]]}, "two of them are equal"),
        ({"answers": ANSWERS + 1}, "answers: expected rows of the candidates, from 0 to 8; 9 is not among"),
        ({"answers": -ANSWERS}, "-8 is not among"),
        ({"answers": ANSWERS[:5]}, "answers: expected 6 whole numbers"),
        ({"answers": ANSWERS / 1}, "answers: expected 6 whole numbers, one per reconstruction; got float64"),
        (
            {"rivals": {"judge": similar().T}},
            r"rivals, judge: expected similarities .*\(6, 9\); got \(9, 6\)",
        ),
        ({"rivals": {"judge": similar() * np.nan}}, "rivals, judge: expected finite similarities"),
        ({"rng": 3}, "rng: expected a numpy.random.Generator, got 3"),
        ({"title": " "}, "Expected title to be a text"),
        ({"alt": ""}, "Expected alt to be a text"),
        ({"n_ways": (2, 10)}, "n_ways: expected increasing whole numbers from 2 to 9"),
        ({"n_ways": (1, 2)}, "n_ways: expected increasing"),
        ({"n_ways": (5, 2)}, "n_ways: expected increasing"),
        ({"n_ways": ()}, "n_ways: expected increasing"),
        ({"descriptions": (["a"] * N, ["b"])}, r"descriptions: expected 6 .* 9 of candidates; got \(6, 1\)"),
    ],
)
def test_the_identification_quiz_names_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        which(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": pictures(4) - 1}, r"pictures: expected values in \[0, 1\]"),
        ({"originals": pictures(3)}, "originals: expected 4 images, one per picture; got 3"),
        ({"needed_brain": np.array([1, 0, 0, 1])}, "needed_brain: expected 4 booleans"),
        ({"needed_brain": np.ones(4, bool)}, "both kinds among them"),
        ({"needed_brain": np.array([True, False])}, r"got bool of the shape \(2,\)"),
        ({"identified": np.array([0, 1, 2, 0.5])}, "identified: expected 4 numbers"),
        ({"identified": np.array([0, 1, np.nan, 0.5])}, "identified: expected 4 numbers"),
        ({"names": ("decoded", "")}, r"Expected names\[1\] to be a text"),
        ({"names": "xy"}, "names: expected two texts"),
        ({"alt": ""}, "Expected alt to be a text"),
    ],
)
def test_the_brain_quiz_names_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        brain(**changes)


def test_the_still_picture_stands_without_scripts():
    made = which()
    (still,) = Elements(made).of("img")
    assert html.escape("A made-up picture, next to 4 of the images it may be of") == still["alt"]
    assert pixels(still["src"]).shape == (3, 32, 5 * 32 + 4 * 4)
