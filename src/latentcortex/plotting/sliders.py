"""Images one after the other: sliders that work in a static page as in a live one."""

import base64
import html
import io

import numpy as np
from IPython.display import HTML
from PIL import Image

from .images import checked_images, unmasked

# Written as attributes of the elements and without ids, so that several sliders live on one page
# and the same one may be shown twice. Without scripts the first frame stays visible. The number of
# a frame is written in the digits that the sliders stand at, the last slider counting fastest.
_ON_INPUT = """
const box = this.closest('.latentcortex-frames');
let at = 0;
box.querySelectorAll('input').forEach(s => {
  at = at * (+s.max + 1) + +s.value;
  s.setAttribute('aria-valuetext', s.dataset.labels.split('|')[s.value]);
});
const frames = box.querySelectorAll('img');
frames.forEach((img, k) => { img.style.display = k == at ? 'block' : 'none'; });
box.querySelector('output').textContent = frames[at].dataset.label;
"""
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


def frame_slider(frames, labels, alt, *, image_width=160):
    """Return a slider over frames that works in a static page, in JupyterLab and in Colab.

    The frames travel inside the HTML as JPEG (quality 90, full colour resolution); nothing is
    requested from anywhere. The slider is the browser's own: arrow keys, Home and End work.

    Parameters
    ----------
    frames : array (n_frames, 3, h, w) or (n_frames, n_images, 3, h, w), in [0, 1]
        With five dimensions the images of a frame stand side by side.
    labels : sequence of str, n_frames
        Shown and read out with each frame.
    alt : str
        Describes the pictures to readers who do not see them.
    image_width : int
        Width of one image on the page, in CSS pixels; a strip shrinks to the page's width.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        For values outside [0, 1] or masked, an empty `alt`, the wrong number of labels, or a width
        that is not above 0.
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
    button = f'<button type="button" onclick="{_ON_PLAY}" style="min-width:4.5em">Play</button>'
    sliders = [(button, "Frame", labels)]
    return _page(frames, labels, alt, sliders, image_width)


def grid_slider(frames, names, labels, alt, *, image_width=160):
    """Return two sliders over a grid of frames, such as of two settings; see `frame_slider`.

    Parameters
    ----------
    frames : array (n_first, n_second, n_images, 3, h, w), in [0, 1]
    names : pair of str
        What each slider sets.
    labels : pair of sequences of str, n_first and n_second
        The values of each, shown and read out.
    alt : str
    image_width : int

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        As `frame_slider`.
    """
    frames = unmasked(frames, "frames")
    lengths = tuple(map(len, labels))
    if frames.ndim != 6 or len(names) != 2 or frames.shape[:2] != lengths:
        raise ValueError(
            "Expected frames of the shape (n_first, n_second, n_images, 3, h, w), two names and as "
            f"many labels of each; got {frames.shape}, {len(names)} names and {lengths} labels."
        )
    sliders = [
        (f'<span style="min-width:9em">{html.escape(name)}</span>', name, of)
        for name, of in zip(names, labels, strict=True)
    ]
    texts = [f"{names[0]} {a}, {names[1]} {b}" for a in labels[0] for b in labels[1]]
    return _page(frames.reshape(-1, *frames.shape[2:]), texts, alt, sliders, image_width)


def _page(frames, labels, alt, sliders, image_width):
    """Write frames (n, n_images, 3, h, w) and sliders of (what stands before it, name, labels)."""
    n_frames, n_images, *_, w = frames.shape
    checked_images(frames.reshape(-1, *frames.shape[2:]), "frames")
    if not image_width > 0:
        raise ValueError(f"image_width must be above 0 pixels; got {image_width}.")
    if not alt.strip():
        raise ValueError("Expected alt to describe the frames in words, got an empty text.")

    # A white gap of 2 pixels between images, none after the last: (n_frames, h, width of strip, 3).
    gap = ((0, 0), (0, 0), (0, 0), (0, 0), (0, 2))
    strips = np.pad(frames, gap, constant_values=1).transpose(0, 3, 1, 4, 2)
    strips = strips.reshape(n_frames, frames.shape[3], -1, 3)[:, :, :-2]
    strip_width = round(image_width / w * strips.shape[2])
    alt, labels = html.escape(alt), [html.escape(str(label)) for label in labels]
    # Enlarged pixels stay pixels; what is shrunk is smoothed.
    rendering = "pixelated" if image_width > w else "auto"
    pictures = []
    for k, (strip, text) in enumerate(zip(strips, labels, strict=True)):
        file = io.BytesIO()
        pixels = (strip * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(file, format="JPEG", quality=90, subsampling=0)
        pictures.append(
            f'<img class="dark-light" src="data:image/jpeg;base64,'
            f'{base64.b64encode(file.getvalue()).decode()}" alt="{alt} ({text})" '
            f'data-label="{text}" style="display:{"none" if k else "block"};width:{strip_width}px;'
            f'max-width:100%;height:auto;margin:0;image-rendering:{rendering}">'
        )
    rows = []
    for before, name, values in sliders:
        texts = [html.escape(str(value).replace("|", "/")) for value in values]
        rows.append(
            f'<div style="display:flex;align-items:center;gap:0.6em;margin-top:0.4em">{before}'
            f'<input type="range" min="0" max="{len(texts) - 1}" value="0" step="1" '
            f'oninput="{_ON_INPUT}" aria-label="{html.escape(name)}" '
            f'aria-valuetext="{texts[0]}" data-labels="{"|".join(texts)}" '
            'style="flex:1;min-width:6em"></div>'
        )
    return HTML(
        f'<div class="latentcortex-frames" role="group" aria-label="{alt}" '
        f'style="max-width:{strip_width}px">{"".join(pictures)}{"".join(rows)}'
        f'<output style="display:block">{labels[0]}</output></div>'
    )
