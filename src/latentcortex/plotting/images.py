"""Images side by side, and one after the other."""

import base64
import html
import io

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from PIL import Image


def _checked_images(images, name):
    """Return images as an array (n, 3, h, w), or say what is wrong with them."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ValueError(f"{name}: expected images of the shape (n, 3, h, w), got {images.shape}.")
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name}: expected values in [0, 1], got values from {low:.3g} to {high:.3g}. "
            "Divide images in [0, 255] by 255; clip decoded ones, which may overshoot: "
            "images.clip(0, 1)."
        )
    return images


def image_grid(rows, row_labels=None, column_labels=None, *, width=7.5):
    """Draw rows of images, one array of images a row.

    Parameters
    ----------
    rows : sequence of arrays, each (n_images, 3, h, w), in [0, 1]
        Column j holds image j of every row. Rows may differ in h and w.
    row_labels : sequence of str, optional
        One a row, written to its left.
    column_labels : sequence of str, optional
        One a column, written above the first row.
    width : float
        Width of the figure in inches.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, (n_rows, n_images)

    Raises
    ------
    ValueError
        For values outside [0, 1], rows of unequal length, or the wrong number of labels.
    """
    rows = [_checked_images(images, f"row {i}") for i, images in enumerate(rows)]
    lengths = [len(images) for images in rows]
    if len(set(lengths)) != 1:
        raise ValueError(f"Expected rows with the same number of images, got {lengths}.")
    n_rows, n_columns = len(rows), lengths[0]
    for name, labels, n in (("row", row_labels, n_rows), ("column", column_labels, n_columns)):
        if labels is not None and len(labels) != n:
            raise ValueError(f"Expected {n} {name} labels, got {len(labels)}.")

    cell = (width - (1.2 if row_labels is not None else 0)) / n_columns
    heights = [images.shape[2] / images.shape[3] for images in rows]
    fig, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(width, sum(heights) * cell + 0.3),
        height_ratios=heights,
        squeeze=False,
        layout="compressed",
    )
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for i, j in np.ndindex(n_rows, n_columns):
        ax = axes[i, j]
        ax.imshow(rows[i][j].transpose(1, 2, 0), interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if row_labels is not None and j == 0:
            ax.set_ylabel(row_labels[i], rotation=0, ha="right", va="center")
        if column_labels is not None and i == 0:
            ax.set_title(column_labels[j], fontsize="medium")
    return axes


# Written as attributes of the elements and without ids, so that several sliders live on one page
# and the same one may be shown twice. Without scripts the first frame stays visible.
_ON_INPUT = """
const frames = this.closest('.latentcortex-frames').querySelectorAll('img');
frames.forEach((img, k) => { img.style.display = k == this.value ? 'block' : 'none'; });
const text = frames[this.value].dataset.label;
this.setAttribute('aria-valuetext', text);
this.closest('.latentcortex-frames').querySelector('output').textContent = text;
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
        Describes the pictures to those who don't see them.
    image_width : int
        Width of one image on the page, in CSS pixels; a strip shrinks to the page's width.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        For values outside [0, 1], an empty `alt`, or the wrong number of labels.
    """
    frames = np.asarray(frames)
    if frames.ndim == 4:
        frames = frames[:, None]
    if frames.ndim != 5:
        raise ValueError(
            "Expected frames of the shape (n_frames, 3, h, w) or (n_frames, n_images, 3, h, w), "
            f"got {frames.shape}."
        )
    n_frames, n_images, *_, w = frames.shape
    _checked_images(frames.reshape(-1, *frames.shape[2:]), "frames")
    if len(labels) != n_frames:
        raise ValueError(f"Expected {n_frames} labels, one a frame; got {len(labels)}.")
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
    return HTML(
        f'<div class="latentcortex-frames" role="group" aria-label="{alt}" '
        f'style="max-width:{strip_width}px">{"".join(pictures)}'
        '<div style="display:flex;align-items:center;gap:0.6em;margin-top:0.4em">'
        f'<button type="button" onclick="{_ON_PLAY}" style="min-width:4.5em">Play</button>'
        f'<input type="range" min="0" max="{n_frames - 1}" value="0" step="1" '
        f'oninput="{_ON_INPUT}" aria-label="Frame" aria-valuetext="{labels[0]}" '
        'style="flex:1;min-width:6em"></div>'
        f'<output style="display:block">{labels[0]}</output></div>'
    )
