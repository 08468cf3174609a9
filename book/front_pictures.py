"""Small pictures of the front page: one for each chapter, of what it found, without text."""

import io

import front
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from latentcortex import features, plotting
from latentcortex.plotting.images import data_address

SIZE = 480, 320  # pixels; shown at half this size
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"  # told apart by readers who don't see red or green
N_CORTEX = 20_484  # vertices of fsaverage5


def address(image, kind="JPEG"):
    """Return a PIL image as an address that a page can hold."""
    return data_address(image, kind, **({"quality": 85} if kind == "JPEG" else {"optimize": True}))


def scene(pixels, size=None):
    """Return a picture (3, h, w) in [0, 1], or (h, w, 3) of uint8, as a PIL image of so many pixels."""
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(pixels)
    return image if size is None else image.resize((size, size), Image.Resampling.BICUBIC)


def mosaic(tiles):
    """Set six pictures in two rows of three."""
    whole, side = Image.new("RGB", SIZE, "white"), SIZE[0] // 3
    for k, tile in enumerate(tiles):
        whole.paste(scene(tile, side - 4), (k % 3 * side + 2, k // 3 * side + 2))
    return address(whole)


def chart():
    """Return an empty figure of the size of the pictures, with axes that show no text."""
    fig, ax = plt.subplots(figsize=(3, 2), layout="constrained")
    ax.set(xticks=[], yticks=[])
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color="0.6", linewidth=1.2)
    return fig, ax


def drawn(fig, dpi=160):
    """Return a figure as an address and close it."""
    file = io.BytesIO()
    fig.savefig(file, dpi=dpi, facecolor="white")
    plt.close(fig)
    return address(
        Image.open(file).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=128), "PNG"
    )


def on_cortex(values, vertices):
    """Return values of some vertices as values of all of fsaverage5, NaN elsewhere."""
    whole = np.full(N_CORTEX, np.nan)
    whole[vertices] = values
    return whole


def flat(values, vertices, **look):
    """Draw a flat map without its colour bar."""
    fig, ax = plt.subplots(figsize=(3, 2))
    plotting.flatmap(on_cortex(values, vertices), label=" ", ax=ax, zoom=True, **look)
    for other in fig.axes[1:]:
        other.remove()
    for text in [*ax.texts]:
        text.remove()
    ax.set(title="", xlabel="", xticks=[])
    ax.set_position([0.02, 0.02, 0.96, 0.96])
    return drawn(fig)


def cortex():
    """Return the response of the first subject to the first scene of the film, on the right hemisphere."""
    of = front.product("ch00_open_the_book")
    values = on_cortex(of["film_betas"][0], of["vertices"])
    _, ax = plotting.inflated(values, label=" ", view="medial", cmap="RdBu_r", limits=(-2, 2), width=6)
    fig = ax.figure
    for other in fig.axes:
        if other is not ax:
            other.remove()
    ax.set_title("")
    fig.set_layout_engine("none")
    fig.set_size_inches(3, 2)
    ax.set_position([0, 0, 1, 1])
    file = io.BytesIO()
    fig.savefig(file, dpi=120, transparent=True)
    plt.close(fig)
    image = Image.open(file)
    return address(image.crop(image.getbbox()), "PNG")


def picture_01():
    """Scenes that were seen."""
    return mosaic(list(front.originals().values()))


def picture_02():
    """The ceiling on cortex, mean of subjects."""
    of = front.product("ch10_encode_voxels")
    return flat(of["ceiling"][0].mean(axis=0), of["vertices"], limits=(0, 0.6))


def picture_03():
    """A scene and two maps of its latent."""
    seen = next(iter(front.originals().values()))
    z = features.encode_images(front.model().vae, front.torch.from_numpy(seen)[None])[0].cpu().numpy()
    whole = Image.new("RGB", SIZE, "white")
    whole.paste(scene(seen, SIZE[1] - 4), (0, 2))
    for k in (0, 1):
        level = np.clip((z[k] - z[k].min()) / np.ptp(z[k]), 0, 1)
        tile = Image.fromarray((plt.get_cmap("viridis")(level)[..., :3] * 255).astype(np.uint8))
        whole.paste(tile.resize((156, 156), Image.Resampling.NEAREST), (SIZE[1] + 4, 2 + 160 * k))
    return address(whole)


def picture_04():
    """R2 by penalty, of the images fitted to and of others."""
    of, (fig, ax) = front.product("ch00_open_the_book"), chart()
    r2 = of["penalty_r2"].mean(axis=0)
    for k, colour in enumerate((GREY, BLUE)):
        ax.semilogx(of["alphas"], r2[:, k], "o-", color=colour, lw=2.5, ms=4)
    ax.axhline(0, color="0.6", lw=1)
    ax.tick_params(which="both", length=0, labelbottom=False)
    return drawn(fig)


def picture_05():
    """How well z and c are decoded from early and from ventral cortex."""
    of, (fig, ax) = front.product("ch05_decode_latents"), chart()
    r = of["r"].mean(axis=3)[:, [of.provenance["regions"].index(name) for name in ("early", "ventral")]]
    for region, colour in enumerate((BLUE, ORANGE)):
        for target in (0, 1):
            x = 1.4 * target + 0.5 * region
            ax.bar(x, r[:, region, target].mean(), 0.45, color=colour)
            ax.plot(np.full(len(r), x), r[:, region, target], "k.", ms=4)
    return drawn(fig)


def picture_06():
    """Scenes that were seen, and below them what was drawn."""
    of = front.product("ch06_reconstruct_images", "-pictures")
    seen = [front.originals()[k] for k in of["image_ids"][:3].tolist()]
    return mosaic([*seen, *of["pictures"][:3, 0, front.BOTH]])


def picture_07():
    """Correlation of z by sessions, with and without other subjects."""
    of, (fig, ax) = front.product("ch07_share_a_space"), chart()
    facts = of.provenance
    z, form = facts["targets"].index("z"), facts["forms"].index(facts["primary_form"])
    r = of["network_r"][..., z, form].mean(axis=(0, 1))
    for name, colour in (("scratch", GREY), ("pretrained", ORANGE)):
        ax.plot(r[facts["networks"].index(name)], "o-", color=colour, lw=2.5, ms=6)
    return drawn(fig)


def picture_08():
    """A scene, drawn without a guide, by decoded features, by true ones, and by another image's."""
    of = front.product("ch08_guide_the_sampler", "-pictures")
    ways = ("unguided", "decoded", "true", "other", "true, no limit")
    seen = front.originals()[int(of["picture_ids"][0])]
    return mosaic([seen, *(of[f"hard {way}"][0] for way in ways)])


def picture_08b():
    """Pixels against kinds of validation images, plain and with more and more trust."""
    of, (fig, ax) = front.product("ch08b_choose_weighing"), chart()
    cells, means = of.provenance["cells"], of["scores"].mean(axis=(0, 2))
    x, y = (means[:, of.provenance["scores"].index(name)] for name in ("kinds", "centred PixCorr"))
    for way, colour in (("plain", GREY), ("weighed", BLUE), ("trust 10", ORANGE)):
        at = [k for k, cell in enumerate(cells) if cell[0] == way]
        ax.plot(x[at], y[at], "o-", color=colour, lw=2.5, ms=6)
    return drawn(fig)


def picture_09():
    """Floors, reconstructions and ceilings of five scores."""
    of, (fig, ax) = front.product("ch09_measure_reconstructions"), chart()
    rows, names = of.provenance["rows"], of.provenance["scores"]
    for y, name in enumerate(("kinds", "setting", "AlexNet(5), same group", "AlexNet(5)", "centred PixCorr")):
        at = of["scores"][..., names.index(name)].mean(axis=(0, 1))
        floor, value, ceiling = (at[rows.index(row)] for row in ("shuffled_pairs", "both", "true_both"))
        ax.plot([floor, ceiling], [y, y], color=GREY, lw=7, solid_capstyle="butt")
        ax.plot([floor, value], [y, y], color=BLUE, lw=7, solid_capstyle="butt")
    ax.set(xlim=(-0.03, 1.03))
    return drawn(fig)


def picture_10():
    """Where z and where c predicts better, mean of subjects."""
    of = front.product("ch10_encode_voxels")
    gap = (of["r_z"] - of["r_c"])[0].mean(axis=0)
    gap[of["ceiling"][0].mean(axis=0) < 0.05] = np.nan
    return flat(gap, of["vertices"], limits=(-0.15, 0.15), centre=0)


def picture_11():
    """What z_c predicts more or less than z, by the share of noise, in V1 and in ventral cortex."""
    of, (fig, ax) = front.product("ch11_follow_the_noise"), chart()
    facts = of.provenance
    for area, colour in (("V1", BLUE), ("ventral", ORANGE)):
        gain = (of["areas z_c"] - of["areas z"])[:, :, 0, facts["areas"].index(area)].mean(axis=0)
        ax.plot(facts["shares"], gain, "o-", color=colour, lw=2.5, ms=5)
    ax.axhline(0, color="0.6", lw=1)
    return drawn(fig)


def picture_12():
    """Correlation with V1 by block of the U-Net: trained, and with random weights."""
    of, (fig, ax) = front.product("ch12_open_the_unet"), chart()
    facts = of.provenance
    r = of["areas"][..., 0, facts["areas"].index("V1")].mean(0).max(0)
    for name, colour in (("random|empty", GREY), ("draw|empty", BLUE)):
        ax.plot(r[facts["sets"].index(name)], "o-", color=colour, lw=2.5, ms=6)
    return drawn(fig)


def picture_13():
    """How well each way to divide variance finds the planted map."""
    fig, ax = chart()
    found = sorted((value, name) for name, value in front.recoveries().items())
    colours = [ORANGE if name == "first_alone" else BLUE for _, name in found]
    ax.barh(range(len(found)), [value for value, _ in found], color=colours)
    return drawn(fig)


def picture_14():
    """Scenes, drawn by decoders that know their setting, and by decoders that don't."""
    of = front.product("ch14_leave_kinds_out", "-pictures")
    tiles = []
    for k in (0, 1):
        without, known = of["setting_pixels"][k]
        tiles += [front.originals()[int(of["image_ids"][k])], known, without]
    return mosaic(tiles)


def picture_15():
    """Numbers of trials of the four people of BOLD5000."""
    fig, ax = chart()
    ax.bar(range(4), front.bold5000_trials().values(), color=BLUE)
    return drawn(fig)


def picture_16():
    """Hours of a GPU by kind of work, without those that take minutes."""
    fig, ax = chart()
    hours = front.costs.hours(front.plan(), "A100").nlargest(5)[::-1]
    ax.barh(range(len(hours)), hours, color=BLUE)
    return drawn(fig)
