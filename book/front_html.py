"""The parts of the front page as HTML: film and pipeline, doors, and the cards of the chapters."""

import html
import math

import front
import front_pictures
from IPython.display import HTML

from latentcortex import plotting

FILM_ALT = (
    "A film of three simulated scenes. On the left the scene that was seen; on the right noise, out of which "
    "a drawing forms from the simulated responses. Layout and colours roughly agree, some objects do not."
)
PIPELINE_TITLE = (
    "The pipeline. A scene is seen by an eye and answered by visual cortex. Decoding: from the responses, "
    "linear models predict z, c and g, from which a U-Net draws an image. Encoding is the arrow back: z, c "
    "and g of the scene predict the response of each point of cortex."
)
# What the pictures of the cards show, for readers who do not see them.
ALT = {
    "01": "Six rendered scenes: a ball in a desert, a tower in a courtyard, a hut on a meadow and others",
    "02": "Flat map of cortex: the noise ceiling varies from vertex to vertex",
    "03": "A scene next to two coarse maps of its latent, in which the ball can be made out",
    "04": "Two curves over the penalty: one falls steadily, the other rises to a peak and falls",
    "05": "Bars: z is higher from early cortex, c is higher from ventral cortex",
    "06": "Three scenes, and below each what was drawn: colours and layout agree, objects only partly",
    "07": "Two rising curves over sessions; the one with other subjects starts higher and the gap closes",
    "08": "One scene and five drawings: unguided and by decoded features alike, by true features closer",
    "08b": "Three falling curves: the more the brain is trusted, the higher they lie, most at their ends",
    "09": "Five bars from a floor to a ceiling, filled for two fifths to four fifths",
    "10": "Flat map of cortex: z ahead along the middle, c ahead in the regions around it",
    "11": "Two curves that stay at zero and fall at the highest share of noise, in V1 much more",
    "12": "Two curves over seven blocks of a U-Net, both highest at the ends and lowest towards the middle",
    "13": "Bars of thirteen methods, in order; the shortest is that of z alone",
    "14": "Two scenes, drawn by decoders that know their setting, and by decoders that do not",
    "15": "Four bars, one for each person who was scanned: three of one height, the fourth lower",
    "16": "Bars of unequal length: hours that each kind of work of a real study takes",
}


def film():
    """Return the film of the scenes that are drawn, next to the scenes that were seen."""
    frames, order = front.film_frames()
    return plotting.film(frames, ["seen", "drawn from responses"], FILM_ALT, order=order).data


def arrow(start, end, colour):
    """Return an arrow from one point (x, y) to another as SVG."""
    (x0, y0), (x1, y1) = start, end
    turn = f"translate({x1} {y1}) rotate({math.degrees(math.atan2(y1 - y0, x1 - x0)):.1f})"
    return (
        f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="{colour}" stroke-width="2.5"/>'
        f'<path d="M2,0 L-8,-5 L-8,5 Z" fill="{colour}" transform="{turn}"/>'
    )


def words(x, y, text, anchor="middle", colour="currentColor", weight="normal"):
    """Return a line of text as SVG, in the colour of the page's text if none is given."""
    style = f'text-anchor="{anchor}" fill="{colour}" font-weight="{weight}"'
    return f'<text x="{x}" y="{y}" font-size="13" {style}>{html.escape(text)}</text>'


def picture(x, y, width, height, address):
    """Return a picture as SVG."""
    return (
        f'<image x="{x}" y="{y}" width="{width}" height="{height}" href="{address}" '
        'preserveAspectRatio="xMidYMid meet"/>'
    )


def eye(x, y):
    """Return the outline of an eye as SVG."""
    pupil = '<circle r="7"/><circle r="2.5" fill="currentColor"/>'
    return (
        f'<g transform="translate({x} {y})" fill="none" stroke="currentColor" stroke-width="2">'
        f'<path d="M-20,0 Q0,-20 20,0 Q0,20 -20,0 Z"/>{pupil}</g>'
    )


def unet(x, y):
    """Return the shape of a U-Net, wide at both ends and narrow in the middle, as SVG."""
    bars = [(-33, 52), (-19, 36), (-5, 20), (9, 36), (23, 52)]
    drawn = "".join(
        f'<rect x="{x + dx}" y="{y - h / 2}" width="10" height="{h}" fill="currentColor" opacity="0.55"/>'
        for dx, h in bars
    )
    return (
        drawn
        + f'<path d="M{x - 28},{y - 26} v-8 h56 v8" fill="none" stroke="currentColor" stroke-width="2"/>'
    )


def features_box(x, y):
    """Return z, c and g with what they know, as SVG."""
    lines = (("z", "layout, colours"), ("c", "what is there"), ("g", "patches to things"))
    parts = [
        f'<rect x="{x}" y="{y}" width="156" height="74" rx="6" fill="none" stroke="currentColor" '
        'stroke-width="1.5"/>'
    ]
    for k, (letter, meaning) in enumerate(lines):
        parts.append(words(x + 9, y + 20 + 22 * k, letter, "start", weight="bold"))
        parts.append(words(x + 26, y + 20 + 22 * k, meaning, "start"))
    return "".join(parts)


def pipeline():
    """Return the figure of the whole pipeline as SVG: to the cortex above, from it to the image below."""
    of = front.product("ch06_reconstruct_images", "-pictures")
    seen = front_pictures.address(front_pictures.scene(front.originals()[int(of["image_ids"][0])]))
    drawn = front_pictures.address(front_pictures.scene(of["pictures"][0, 0, front.BOTH]))
    down, up = "var(--lc-decoding)", "var(--lc-encoding)"
    parts = [
        picture(4, 22, 84, 84, seen),
        words(46, 15, "scene"),
        arrow((94, 64), (116, 64), "currentColor"),
        eye(145, 64),
        words(145, 15, "eye"),
        arrow((174, 64), (198, 64), "currentColor"),
        picture(206, 20, 134, 92, front_pictures.cortex()),
        words(273, 15, "cortex (simulated)"),
        arrow((244, 118), (244, 160), down),
        words(236, 143, "decoding", "end", down, "bold"),
        arrow((310, 160), (310, 118), up),
        words(318, 143, "encoding", "start", up, "bold"),
        features_box(203, 166),
        arrow((199, 203), (182, 203), down),
        unet(145, 206),
        words(145, 257, "U-Net"),
        arrow((109, 203), (93, 203), down),
        picture(4, 161, 84, 84, drawn),
        words(46, 261, "image"),
        words(281, 257, "features of the image"),
    ]
    title = html.escape(PIPELINE_TITLE)
    head = f'<svg viewBox="0 0 390 268" role="img" aria-label="{title}"><title>{title}</title>'
    return f"{head}{''.join(parts)}</svg>"


def doors(read, run, teach):
    """Return three links, each with what it leads to."""
    texts = (
        (read, "Read", "Every figure is here. Start with chapter 01."),
        (run, "Run", "In the browser or on your machine."),
        (teach, "Teach", "Take it into a course."),
    )
    links = "".join(
        f'<a class="lc-door" href="{address}"><strong>{name}</strong><span>{text}</span></a>'
        for address, name, text in texts
    )
    return f'<nav class="lc-doors" aria-label="Three ways in">{links}</nav>'


def opening(read, run, teach):
    """Return film, pipeline and doors, which share the first screen."""
    figure = f'<div class="lc-film">{film()}</div><div class="lc-pipeline">{pipeline()}</div>'
    return HTML(
        f'<div class="lc-opening"><div class="lc-figures">{figure}</div>{doors(read, run, teach)}</div>'
    )


def cards():
    """Return a card for each chapter: picture, title, what it found."""
    each = []
    for page, finding in front.findings().items():
        number = page.partition("_")[0]
        address = getattr(front_pictures, f"picture_{number}")()
        text = html.escape(finding).replace("z_c", "z<sub>c</sub>")
        each.append(
            f'<a class="lc-card" href="{page}.html"><img class="dark-light" src="{address}" '
            f'alt="{html.escape(ALT[number])}" width="240" height="160">'
            f"<span><strong>{number} {front.CHAPTERS[page]}</strong><span>{text}</span></span></a>"
        )
    return HTML(f'<div class="lc-cards">{"".join(each)}</div>')
