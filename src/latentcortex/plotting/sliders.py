"""Make sliders over images, for static and live pages."""

import html
import json
import math

import numpy as np
from IPython.display import HTML

from .checks import check_first, check_texts
from .images import as_picture, checked_images, data_address, unmasked

# Written as attributes of the elements and without ids, so that several sliders live on one page
# and the same one may be shown twice. Without scripts the first picture stays visible. The number of
# a frame is written in the digits that the sliders stand at, the last slider counting fastest.
_ON_INPUT = """
const box = this.closest('.latentcortex-frames');
let at = 0;
box.querySelectorAll('input').forEach(s => {
  at = at * (+s.max + 1) + +s.value;
  s.setAttribute('aria-valuetext', JSON.parse(s.dataset.labels)[s.value]);
});
box.querySelectorAll('[data-frames]').forEach(of => {
  [...of.children].forEach((one, k) => { one.style.display = k == at ? 'block' : 'none'; });
});
['x', 'cx', 'cy'].forEach(a => box.querySelectorAll(`[data-${a}]`).forEach(one => {
  one.setAttribute(a, one.dataset[a].split(' ')[at]);
}));
const output = box.querySelector('output');
output.textContent = JSON.parse(output.dataset.texts)[at];
"""
# JupyterLab looks for this on what has the focus first; otherwise its shortcuts take the arrows.
OWN_KEYS = 'data-lm-suppress-shortcuts="true"'
_ON_PLAY = """
const button = this, slider = this.parentElement.querySelector('input');
const show = k => { slider.value = k; slider.dispatchEvent(new Event('input')); };
const stop = () => { clearInterval(button.timer); button.timer = 0; button.textContent = 'Play'; };
if (button.timer) { stop(); return; }
if (+slider.value >= +slider.max) show(0);
button.textContent = 'Pause';
button.timer = setInterval(() => {
  if (+slider.value >= +slider.max) { stop(); return; }
  show(+slider.value + 1);
}, 300);
"""


def frame_slider(frames, labels, alt, *, image_width=160, first=0):
    """Return a slider over frames that works in a static page, in JupyterLab and in Colab.

    The frames are stored inside the HTML as JPEG (quality 90, full colour resolution), so nothing is
    requested from the network. The slider is the browser's own, so arrow keys, Home and End work.

    Parameters
    ----------
    frames : array (n_frames, 3, h, w) or (n_frames, n_images, 3, h, w), in [0, 1]
        With five dimensions the images of a frame are shown side by side.
    labels : sequence of str, n_frames
        Labels that are shown and read out with each frame.
    alt : str
        Describes the pictures to readers who cannot see them.
    image_width : int
        Width of one image on the page, in CSS pixels. A strip shrinks to the width of the page.
    first : int
        Index of the frame that is shown first, for example the frame that makes the point.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If values are masked or outside [0, 1], if `alt` is empty, or if the number of labels is wrong. Also
        if the width is not above 0, or if `first` is not a frame.
    """
    frames = unmasked(frames, "frames")
    if frames.ndim == 4:
        frames = frames[:, None]
    if frames.ndim != 5:
        raise ValueError(
            "Expected frames of the shape (n_frames, 3, h, w) or (n_frames, n_images, 3, h, w), "
            f"got {frames.shape}."
        )
    if len(labels) != len(frames):
        raise ValueError(f"Expected {len(frames)} labels, one per frame; got {len(labels)}.")
    check_first(first, len(frames))
    button = f'<button type="button" onclick="{_ON_PLAY}" {OWN_KEYS} style="min-width:4.5em">Play</button>'
    width, pictures = strips(frames, labels, alt, image_width, first)
    return page(alt, pictures, [slider(button, "Frame", labels, first)], labels, first, width)


def grid_slider(frames, names, labels, alt, *, image_width=160, first=None, texts=None, above=None):
    """Return sliders over a grid of frames, with one slider for each of several settings.

    See `frame_slider`.

    Parameters
    ----------
    frames : array (n_first, n_second, ..., n_images, 3, h, w), in [0, 1]
        Frames with one leading axis for each setting.
    names : sequence of str
        What each slider sets.
    labels : sequence of sequences of str
        The values of each setting, which are shown and read out.
    alt : str
    image_width : int
    first : sequence of int, optional
        Index at which each slider starts. By default its first value.
    texts : array of str (n_first, n_second, ...), optional
        Text shown below the settings of each frame, such as a score.
    above : array (n_images, 3, h, w), in [0, 1], optional
        Images shown above those of every frame, such as the images that were seen.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        As in `frame_slider`, and if the shape of texts or images above does not fit the frames.
    """
    frames = unmasked(frames, "frames")
    lengths = tuple(map(len, labels))
    n = len(lengths)
    if not n or frames.ndim != n + 4 or len(names) != n or frames.shape[:n] != lengths:
        raise ValueError(
            "Expected frames of the shape (n_first, n_second, ..., n_images, 3, h, w), a name for each "
            f"setting and as many labels of it; got {frames.shape}, {len(names)} names and {lengths} labels."
        )
    places = [0] * n if first is None else list(np.ravel(np.array(first, object)))
    if len(places) != n:
        raise ValueError(f"first: expected a place for each of the {n} settings, got {len(places)}.")
    for place, length in zip(places, lengths, strict=True):
        check_first(place, length)
    values = [
        ", ".join(f"{name} {labels[i][k]}" for i, (name, k) in enumerate(zip(names, at, strict=True)))
        for at in np.ndindex(lengths)
    ]
    if texts is not None:
        if np.shape(texts) != lengths:
            raise ValueError(f"texts: expected one for each frame, {lengths}; got {np.shape(texts)}.")
        values = [f"{value}\n{text}" for value, text in zip(values, np.ravel(texts), strict=True)]
    at = int(np.ravel_multi_index(places, lengths))
    width, pictures = strips(frames.reshape(-1, *frames.shape[n:]), values, alt, image_width, at)
    if above is not None:
        fixed = checked_images(above, "above")
        if fixed.shape != frames.shape[n:]:
            raise ValueError(f"above: expected images {frames.shape[n:]} as in a frame, got {fixed.shape}.")
        pictures = strips(fixed[None], ["above: for comparison"], alt, image_width)[1] + pictures
    rows = [
        slider(f'<span style="min-width:9em">{html.escape(name)}</span>', name, of, place)
        for name, of, place in zip(names, labels, places, strict=True)
    ]
    return page(alt, pictures, rows, values, at, width)


def strips(frames, labels, alt, image_width, first=0):
    """Return the width of a strip in CSS pixels, and the HTML of frames (n, n_images, 3, h, w)."""
    n_frames, n_images, *_, w = frames.shape
    checked_images(frames.reshape(-1, *frames.shape[2:]), "frames")
    if not image_width > 0:
        raise ValueError(f"image_width must be above 0 pixels; got {image_width}.")
    check_texts({"alt": alt}, "describe the frames in words")

    # A white gap of 2 pixels between images, none after the last: (n_frames, h, width of strip, 3).
    gap = ((0, 0), (0, 0), (0, 0), (0, 0), (0, 2))
    pixels = np.pad(frames, gap, constant_values=1).transpose(0, 3, 1, 4, 2)
    pixels = pixels.reshape(n_frames, frames.shape[3], -1, 3)[:, :, :-2]
    strip_width = round(image_width / w * pixels.shape[2])
    # Enlarged pixels stay pixels; what is shrunk is smoothed.
    rendering = "pixelated" if image_width > w else "auto"
    pictures = []
    for k, (strip, text) in enumerate(zip(pixels, labels, strict=True)):
        source = data_address(as_picture(strip), "JPEG", quality=90, subsampling=0)
        pictures.append(
            f'<img class="dark-light" src="{source}" alt="{html.escape(f"{alt} ({text})")}" '
            f'style="display:{"block" if k == first else "none"};width:{strip_width}px;'
            f'max-width:100%;height:auto;padding:0;margin:0 0 2px;image-rendering:{rendering}">'
        )
    moves = " data-frames" if n_frames > 1 else ""
    return strip_width, f"<div{moves}>{''.join(pictures)}</div>"


def slider(before, name, labels, first):
    """Return the HTML of a slider and of the text before it."""
    texts = [str(label) for label in labels]
    return (
        f'<div style="display:flex;align-items:center;gap:0.6em;margin-top:0.4em">{before}'
        f'<input type="range" min="0" max="{len(texts) - 1}" value="{first}" step="1" '
        f'oninput="{_ON_INPUT}" aria-label="{html.escape(name)}" '
        f'aria-valuetext="{html.escape(texts[first])}" data-labels="{html.escape(json.dumps(texts))}" '
        f'autocomplete="off" {OWN_KEYS} style="flex:1;min-width:6em;accent-color:#0072b2"></div>'
    )


def page(name, pictures, sliders, texts, first, width, below=""):
    """Return the HTML group of pictures, sliders, the text of the frame shown, and what is below."""
    texts = [str(text) for text in texts]
    # As high as the longest text at a phone's 40 letters a line, so that nothing jumps.
    n_lines = max(sum(math.ceil(max(len(line), 1) / 40) for line in text.split("\n")) for text in texts)
    return HTML(
        f'<div class="latentcortex-frames" role="group" aria-label="{html.escape(name)}" '
        f'style="max-width:{width}px">{pictures}{"".join(sliders)}'
        f'<output data-texts="{html.escape(json.dumps(texts))}" style="display:block;white-space:pre-line;'
        f'min-height:{1.6 * n_lines:g}em;min-height:{n_lines}lh">{html.escape(texts[first])}</output>'
        f"{below}</div>"
    )
