"""Make a film for a page, with frames that run in a loop and a button to stop them."""

import html

import numpy as np
from IPython.display import HTML

from .checks import check_texts
from .images import as_picture, checked_images, data_address, unmasked

# Rows that are repeated above and below each frame, so that a browser that smooths does not mix two frames.
_MARGIN = 2

# Written as attributes, without ids, so that several films live on one page. All frames of an image are one
# picture, moved behind a window; without scripts the window shows the last frame and there is no button.
_ON_BUTTON = """
const button = this, box = this.closest('.latentcortex-film'), order = box.dataset.order.split(' ');
const stop = () => { clearInterval(button.timer); button.timer = 0; button.textContent = 'Play'; };
if (button.timer) { stop(); return; }
if (!(button.at >= 0)) button.at = -1;
button.textContent = 'Pause';
button.timer = setInterval(() => {
  button.at = (button.at + 1) % order.length;
  box.querySelectorAll('img').forEach(img => {
    img.style.transform = 'translateY(-' + (order[button.at] * PITCH + MARGIN) / HEIGHT * 100 + '%)';
  });
}, +box.dataset.milliseconds);
"""
# A film never starts by itself where the reader has asked for less motion: the button starts it then.
_ON_LOAD = """
const button = this.closest('.latentcortex-film').querySelector('button');
if (!button.hidden) return;
button.hidden = false;
if (!matchMedia('(prefers-reduced-motion: reduce)').matches) button.click();
"""


def film(frames, captions, alt, *, order=None, seconds=0.25, image_width=176):
    """Return a film that runs in a loop in a static page, in JupyterLab and in Colab.

    It has a button *Pause*. It shows its last frame without motion if there are no scripts, or if the
    reader's system asks for reduced motion. In the second case the button says *Play*. The frames are stored
    inside the HTML as JPEG, so nothing is requested from the network.

    Parameters
    ----------
    frames : array (n_frames, n_images, 3, h, w), in [0, 1]
        The images of a frame are shown side by side.
    captions : sequence of str, n_images
        Written below each image.
    alt : str
        Describes the film to readers who cannot see it.
    order : sequence of int, optional
        The frames in the order in which they are shown, one every `seconds`. A frame may be repeated to stay
        longer. By default each frame occurs once.
    seconds : float
        Time per frame in seconds, at least 0.1, so that nothing flashes.
    image_width : int
        Largest width of one image on the page, in CSS pixels. On a narrow page images shrink.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If values are masked or outside [0, 1], if `alt` is empty, or if the number of captions is wrong. Also
        if the order names a frame that does not exist, or if a time or width is too small.
    """
    frames = unmasked(frames, "frames")
    if frames.ndim != 5 or not frames.size:
        raise ValueError(f"Expected frames of the shape (n_frames, n_images, 3, h, w), got {frames.shape}.")
    checked_images(frames.reshape(-1, *frames.shape[2:]), "frames")
    n_frames, n_images, _, h, w = frames.shape
    order = list(range(n_frames)) if order is None else list(order)
    if len(captions) != n_images:
        raise ValueError(f"Expected {n_images} captions, one per image; got {len(captions)}.")
    if not order or not set(order) <= set(range(n_frames)):
        raise ValueError(f"Expected an order of frames from 0 to {n_frames - 1}, got {order}.")
    check_texts({"alt": alt}, "describe the film in words")
    if not 0.1 <= seconds < float("inf") or not image_width > 0:
        raise ValueError(
            f"Expected at least 0.1 s and a width above 0; got {seconds} s, {image_width} pixels."
        )

    pitch = h + 2 * _MARGIN
    last = (order[-1] * pitch + _MARGIN) / (n_frames * pitch) * 100
    windows = []
    for k, caption in enumerate(captions):
        # The alternative text stands at the last image, whose loading starts the film; others are decoration.
        is_last = k == n_images - 1
        described = (
            f'alt="{html.escape(alt)}" onload="{_ON_LOAD}"' if is_last else 'alt="" aria-hidden="true"'
        )
        windows.append(
            f'<figure style="margin:0;padding:0;flex:0 1 {image_width}px;min-width:0">'
            f'<div style="aspect-ratio:{w}/{h};overflow:hidden;border-radius:6px">'
            f'<img class="dark-light" {described} src="{_column(frames[:, k])}" '
            f'style="display:block;width:100%;max-width:none;height:auto;margin:0;padding:0;border-radius:0;'
            f'transform:translateY(-{last:.4f}%)"></div>'
            f'<figcaption style="text-align:center;color:inherit;font-weight:normal;font-size:0.85rem;'
            f'line-height:1.2;margin-top:0.3rem;padding:0">'
            f"{html.escape(caption)}</figcaption></figure>"
        )
    numbers = {"PITCH": pitch, "MARGIN": _MARGIN, "HEIGHT": n_frames * pitch}
    on_button = _ON_BUTTON
    for name, number in numbers.items():
        on_button = on_button.replace(name, str(number))
    return HTML(
        f'<div class="latentcortex-film" data-order="{" ".join(map(str, order))}" '
        f'data-milliseconds="{round(seconds * 1000)}">'
        f'<div style="display:flex;gap:0.5rem">{"".join(windows)}</div>'
        f'<button type="button" hidden onclick="{on_button}" style="margin-top:0.3rem;min-width:5em">Play'
        "</button></div>"
    )


def _column(frames):
    """Return frames (n, 3, h, w) below each other, with margins, as the address of a JPEG file."""
    margins = ((0, 0), (_MARGIN, _MARGIN), (0, 0), (0, 0))
    pixels = np.pad(frames.transpose(0, 2, 3, 1), margins, mode="edge")
    return data_address(as_picture(pixels.reshape(-1, *pixels.shape[2:])), "JPEG", quality=88, subsampling=0)
