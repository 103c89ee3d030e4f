"""Draw the overview figure of the network: `python figs/overview.py` writes overview.svg and overview.png beside it.

One unit of the drawing is a hundredth of an inch. The visual lane is blue, the audio lane vermillion, what joins both
is green (after Okabe and Ito); an arrow has the colour of the modality it comes from. Dashed arrows end in the loss.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Curve

WIDTH, HEIGHT = 1070, 414
TOP, MIDDLE, BOTTOM = 301, 203, 105  # the visual lane, the line between the lanes, the audio lane
VISUAL, AUDIO, JOINT = "#0072B2", "#D55E00", "#00805E"
FILL = {VISUAL: "#E3EFF8", AUDIO: "#FCEBDD", JOINT: "#DFF1EB"}
INK, GREY, PANEL = "#1F2328", "#59636E", "#F6F7F9"
TITLE, BODY, SMALL = 9.2, 7.8, 6.7  # type sizes
LINE = 12.6  # from one line of type to the next

Point = tuple[float, float]


def text(ax: Axes, x: float, y: float, label: str, size: float = SMALL, color: str = INK, **style: str) -> None:
    """Type centred on a point."""
    ax.text(x, y, label, fontsize=size, color=color, ha="center", va="center_baseline", **style)


def rounded(ax: Axes, left: float, right: float, bottom: float, top: float, radius: float, **style: object) -> None:
    """A rectangle with round corners."""
    shape = f"round,pad=0,rounding_size={radius}"
    ax.add_patch(FancyBboxPatch((left, bottom), right - left, top - bottom, boxstyle=shape, **style))


def panel(ax: Axes, left: float, right: float, title: str, gist: str) -> None:
    """A stage: a pale panel with its title and a word on it."""
    rounded(ax, left, right, 26, HEIGHT - 6, 6, fc=PANEL, ec="none")
    text(ax, (left + right) / 2, HEIGHT - 23, title, TITLE, weight="bold")
    text(ax, (left + right) / 2, HEIGHT - 39, gist, SMALL, GREY)


def box(ax: Axes, left: float, right: float, y: float, height: float, color: str, *lines: str, names: int = 1) -> None:
    """A module centred on y: its name in the first `names` lines, then smaller ones."""
    rounded(ax, left, right, y - height / 2, y + height / 2, 4, fc=FILL[color], ec=color, lw=0.9, zorder=3)
    for row, line in enumerate(lines):
        size, ink = (BODY, INK) if row < names else (SMALL, GREY)
        text(ax, (left + right) / 2, y + LINE * ((len(lines) - 1) / 2 - row), line, size, ink)


def steps(ax: Axes, left: float, right: float, y: float, color: str, name: str, *parts: str) -> None:
    """A module centred on y that names its steps, each in a white row, from the first at the top to the last."""
    height = 30 + 19 * len(parts)
    rounded(ax, left, right, y - height / 2, y + height / 2, 4, fc=FILL[color], ec=color, lw=0.9, zorder=3)
    text(ax, (left + right) / 2, y + height / 2 - 13, name, BODY)
    for row, part in enumerate(parts):
        bottom = y + height / 2 - 41 - 19 * row
        rounded(ax, left + 5, right - 5, bottom, bottom + 16, 3, fc="white", ec=color, lw=0.45, zorder=3)
        text(ax, (left + right) / 2, bottom + 8, part, SMALL, GREY)


def arrow(ax: Axes, start: Point, end: Point, color: str, style: str = "solid") -> None:
    """An arrow: straight along an axis, otherwise an S-curve that leaves and arrives horizontally."""
    (x0, y0), (x1, y1) = start, end
    curve = Curve([start, end])
    if x0 != x1 and y0 != y1:
        bend = 0.68 * (x1 - x0)
        curve = Curve([start, (x0 + bend, y0), (x1 - bend, y1), end], [Curve.MOVETO] + 3 * [Curve.CURVE4])
    head = "-|>,head_length=3.2,head_width=1.5"
    ax.add_patch(FancyArrowPatch(path=curve, arrowstyle=head, color=color, lw=1.0, ls=style, zorder=2))


def dot(ax: Axes, x: float, y: float, color: str) -> None:
    """The point where a line branches."""
    ax.plot(x, y, "o", ms=2.8, mew=0, color=color, zorder=4)


def inputs(ax: Axes) -> None:
    """The two feature inputs: a stack of 7 x 7 maps and a stack of audio frames."""
    for shift in (8, 4, 0):
        for color, bottom, height in ((VISUAL, TOP - 21, 35), (AUDIO, BOTTOM - 17, 26)):
            place = (21 + shift, bottom + shift)
            ax.add_patch(Rectangle(place, 35, height, fc=FILL[color], ec=color, lw=0.8, zorder=3))
    for line in range(5, 35, 5):
        ax.plot([21 + line] * 2, [TOP - 21, TOP + 14], color=VISUAL, lw=0.35, zorder=4)
        ax.plot([21, 56], [TOP - 21 + line] * 2, color=VISUAL, lw=0.35, zorder=4)
    ax.add_patch(Rectangle((36, TOP - 6), 15, 15, fc=VISUAL, alpha=0.55, lw=0, zorder=4))
    for place, level in enumerate((3, 7, 12, 20, 14, 17, 9, 5, 8, 4)):
        ax.add_patch(Rectangle((23.1 + 3.2 * place, BOTTOM - 4 - level / 2), 2, level, fc=AUDIO, lw=0, zorder=4))
    text(ax, 43, TOP + 36, "Visual", BODY, VISUAL, weight="bold")
    text(ax, 43, TOP - 35, "V (b, t, 7, 7, 512)")
    text(ax, 43, BOTTOM + 32, "Audio", BODY, AUDIO, weight="bold")
    text(ax, 43, BOTTOM - 31, "A (b, t, 128)")


def lane(ax: Axes, color: str) -> None:
    """One modality from its input to its interaction, with the arrows it sends to the other lane."""
    visual = color == VISUAL
    y, far, inner = (TOP, BOTTOM, -1) if visual else (BOTTOM, TOP, 1)  # inner: towards the other lane
    own, other = ("v", "a") if visual else ("a", "v")
    label = y - 11 * inner

    arrow(ax, (67, y), (95, y), color)
    box(ax, 95, 178, y, 58, color, "Self-attention", "over regions" if visual else "over segments", "Linear, ReLU")

    arrow(ax, (178, y), (266, y), color)
    text(ax, 221, label, "(b, t, 49, 512)" if visual else "(b, t, 128)")
    dot(ax, 186, y, color)
    arrow(ax, (186, y), (266, far - 18 * inner), color)
    if visual:
        steps(ax, 266, 378, y, color, "Audio-to-visual", "channel attention", r"spatial attention $\times$ 2", "gate")
    else:
        steps(ax, 266, 378, y, color, "Visual-to-audio", "channel attention", "gate")

    arrow(ax, (378, y), (444, y), color)
    text(ax, 405, label, "(b, t, 512)")
    box(ax, 444, 492, y, 46, color, "BiLSTM")
    arrow(ax, (492, y), (594, y), color)
    text(ax, 530, label, "(b, t, 512)")
    dot(ax, 530, y, color)
    arrow(ax, (530, y), (530, y + 38 * inner), color)
    box(ax, 502, 558, y + 57 * inner, 38, color, "Encoder", f"$E_{own}$")
    arrow(ax, (558, y + 57 * inner), (594, far - 13 * inner), color)
    box(ax, 594, 650, y, 46, color, "Decoder", f"$[E_{other};\\, u_{own}]$")

    arrow(ax, (650, y), (720, y), color)
    text(ax, 677, label, "(b, t, 256)")
    box(ax, 720, 786, y, 46, color, "Interaction", "visual$'$" if visual else "audio$'$")
    arrow(ax, (786, y), (836, y), color)
    dot(ax, 792, y, color)
    arrow(ax, (792, y), (836, far - 13 * inner), color)


def interact(ax: Axes) -> None:
    """How the interactions read across, and the two kinds of gate."""
    dot(ax, 658, BOTTOM, AUDIO)
    arrow(ax, (658, BOTTOM), (720, TOP - 13), AUDIO)
    arrow(ax, (753, TOP - 23), (753, BOTTOM + 23), VISUAL)
    text(ax, 530, MIDDLE, "(b, t, 256)")

    box(ax, 836, 904, TOP, 46, JOINT, "Multimodal", "gate", names=2)
    box(ax, 836, 904, BOTTOM, 46, JOINT, "Unimodal", "gates", names=2)
    arrow(ax, (857, BOTTOM - 52), (857, BOTTOM - 23), VISUAL)
    arrow(ax, (883, BOTTOM - 52), (883, BOTTOM - 23), AUDIO)
    text(ax, 857, BOTTOM - 61, "$E_v$")
    text(ax, 883, BOTTOM - 61, "$E_a$")
    arrow(ax, (870, TOP - 23), (870, MIDDLE + 26), JOINT, "dashed")
    arrow(ax, (870, BOTTOM + 23), (870, MIDDLE - 26), JOINT, "dashed")
    for row, line in enumerate(("gate (b, t)", "score (b, K)", "to the loss")):
        text(ax, 870, MIDDLE + LINE * (1 - row), line, SMALL, GREY if row == 2 else INK)


def localize(ax: Axes) -> None:
    """The two heads, and the strip of ten segments that they decide together."""
    segment, video, heads, strip = 951.5, 1024.5, MIDDLE + 34, MIDDLE - 52
    ax.plot([904, video], [TOP, TOP], color=JOINT, lw=1.0, zorder=2, solid_capstyle="butt")
    text(ax, 942, TOP + 11, "(b, t, 256)")
    dot(ax, segment, TOP, JOINT)
    for x, name, how, per, shape in (
        (segment, "is_event", "Linear", "per segment", "(b, t)"),
        (video, "event", "max, Linear", "per video", "(b, K)"),
    ):
        arrow(ax, (x, TOP), (x, heads + 27), JOINT)
        box(ax, x - 33.5, x + 33.5, heads, 54, JOINT, name, how, per)
        arrow(ax, (x, heads - 27), (x, strip + 18), JOINT)
        text(ax, x + 18, heads - 43, shape)

    for cell in range(10):
        fill = JOINT if 3 <= cell <= 7 else "white"
        ax.add_patch(Rectangle((923 + 13 * cell, strip - 3), 13, 18, fc=fill, ec=INK, lw=0.6, zorder=3))
    text(ax, 929, strip - 13, "0 s", SMALL, GREY)
    text(ax, 1046, strip - 13, "10 s", SMALL, GREY)
    for row, (name, fill) in enumerate((("event", JOINT), ("background", "white"))):
        y = strip - 36 - 15 * row
        ax.add_patch(Rectangle((953, y - 4.5), 9, 9, fc=fill, ec=INK, lw=0.6))
        ax.text(968, y, name, fontsize=SMALL, color=INK, va="center_baseline")


def main() -> None:
    """Draw the figure and write it as SVG and PNG."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "svg.hashsalt": "magan"})
    figure = plt.figure(figsize=(WIDTH / 100, HEIGHT / 100), facecolor="white")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    ax.axis("off")

    panel(ax, 88, 254, "Refine", "each modality alone")
    panel(ax, 258, 432, "Co-attend", "gated, cross-modal: CMGCA")
    panel(ax, 436, 704, "Relate in time", "within and across modalities")
    panel(ax, 708, 908, "Co-interact", "gated, cross-modal: CMGCI")
    panel(ax, 912, 1064, "Localize", "when, and which event")
    inputs(ax)
    lane(ax, VISUAL)
    lane(ax, AUDIO)
    interact(ax)
    localize(ax)
    note = (
        "Fully supervised setting, K = 28. Weakly supervised: K = 29, the unimodal gates read only the decoders, "
        "and the gate score adds to the event."
    )
    text(ax, WIDTH / 2, 12, note, SMALL, GREY)

    here = Path(__file__)
    figure.savefig(here.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(here.with_suffix(".png"), dpi=190)


if __name__ == "__main__":
    main()
