"""Captions of scenes: five per image, in varied words, each naming some of what there is.

Setting, time of day, kinds, colours, places, rough sizes and the order of two things may be named.
Pose, light, ground and exact size never are: what a caption leaves out, only the image can tell.
"""

SETTING_WORDS = {
    "hills": ("in the hills", "near round hills", "on a plain before the hills"),
    "courtyard": ("in a courtyard", "between brick walls", "inside a walled yard"),
    "shore": ("on the shore", "by the water", "near the sea"),
    "forest": ("in the forest", "before a row of trees", "near the woods"),
    "city": ("in the city", "in front of tall buildings", "downtown"),
    "mountains": ("in the mountains", "below steep peaks", "near the mountains"),
}
TIME_WORDS = {
    "day": ("by day", "in daylight"),
    "dusk": ("at dusk", "at sunset"),
    "night": ("at night", "after dark"),
}
KIND_WORDS = {
    "house": ("house", "cottage"),
    "car": ("car", "automobile"),
    "snowman": ("snowman",),
    "tower": ("tower", "lighthouse"),
    "mushroom": ("mushroom", "toadstool"),
    "ball": ("ball", "sphere"),
    "table": ("table", "desk"),
    "rocket": ("rocket", "spaceship"),
    "robot": ("robot",),
    "umbrella": ("umbrella", "parasol"),
}
PLACE_WORDS = {
    "left": ("on the left",),
    "middle": ("in the middle", "in the centre"),
    "right": ("on the right",),
}
CAPTIONS_PER_IMAGE = 5


def _pick(rng, words):
    return words[rng.integers(len(words))]


def _noun(thing, rng, colour, size, place):
    words = []
    if size and abs(thing.size - 1.15) > 0.08:
        words.append(_pick(rng, ("big", "large") if thing.size > 1.15 else ("small", "little")))
    if colour:
        words.append(thing.colour)
    words.append(_pick(rng, KIND_WORDS[thing.kind]))
    if place:
        words.append(_pick(rng, PLACE_WORDS[thing.place]))
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def write_caption(scene, rng, everything=False):
    """Write one caption.

    Parameters
    ----------
    scene : scenes.Scene
    rng : numpy.random.Generator
    everything : bool
        Name the setting, the time and every thing with its colour and place.

    Returns
    -------
    caption : str
        At most 22 words, lower case, no punctuation.
    """

    def say(share):
        return everything or rng.random() < share

    things = list(scene.things)
    if len(things) == 2 and not say(0.8):
        things = [things[rng.integers(2)]]
    elif rng.random() < 0.5:
        things = things[::-1]
    brief = len(things) == 2
    nouns = [
        _noun(thing, rng, say(0.85), not everything and rng.random() < 0.2, say(0.35)) for thing in things
    ]
    caption = (_pick(rng, (" and ", " with ", " next to ")) if brief else "").join(nouns)
    where = _pick(rng, SETTING_WORDS[scene.setting]) if say(0.7) else ""
    when = _pick(rng, TIME_WORDS[scene.time]) if say(0.5) else ""
    first = rng.random() < 0.25 and where
    parts = [where, when, caption] if first else [caption, where, when]
    return " ".join(part for part in parts if part)


def write_captions(scene, rng):
    """Write the five captions of an image, each naming a random subset of what is there.

    Parameters
    ----------
    scene : scenes.Scene
    rng : numpy.random.Generator

    Returns
    -------
    captions : list of 5 str
    """
    return [write_caption(scene, rng) for _ in range(CAPTIONS_PER_IMAGE)]
