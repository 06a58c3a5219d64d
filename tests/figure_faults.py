"""What makes a figure unprintable: texts on one another or cut off, tiny letters, a legend on a curve, wider
than a page, panels without letters, hyphens for minus signs, and P written in more than one way."""

import json
import re
from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dlrs.results import Record

SMALLEST_POINTS = 6.0
SLACK_PIXELS = 1.5
WIDEST_INCHES = 7.2  # two columns of a journal
LEGEND_EDGE_PIXELS = 6  # around a legend's letters, where a curve hides nothing
SPELT = {
    r"(?<![\w.])-\d|\d - | - \w": "has a hyphen for a minus sign",
    r"\bP ?<(?! )|\bP [\d.]": "writes P in another way than `P = 0.012` and `P < 0.001`",
    r"\d %": "has a space before the percent sign",
    r"\b[a-z]+_[a-z]+\b": "shows a column's raw name",
}


def texts(fig):
    """Return the visible texts of a figure with their boxes in pixels, nearly tight around the letters."""
    renderer = FigureCanvasAgg(fig).get_renderer()
    found = []
    for text in fig.findobj(Text):
        if text.get_visible() and text.get_text().strip() and (text.axes is None or text.axes.get_visible()):
            box = text.get_window_extent(renderer)
            found.append((text, Bbox.from_extents(box.x0 + 1, box.y0 + 1, box.x1 - 1, box.y1 - 1)))
    return found


def faults(fig):
    """Return one sentence a fault of a drawn figure."""
    fig.draw_without_rendering()
    canvas, drawn = fig.bbox, _shown(fig, texts(fig))
    found = []
    for text, box in drawn:
        label = text.get_text()
        if text.get_fontsize() < SMALLEST_POINTS:
            found.append(f"{label!r} is written in {text.get_fontsize():.1f} points")
        beyond = max(canvas.x0 - box.x0, canvas.y0 - box.y0, box.x1 - canvas.x1, box.y1 - canvas.y1)
        if beyond > SLACK_PIXELS:
            found.append(f"{label!r} is cut off by {beyond:.0f} pixels")
        found += [f"{label!r} {said}" for pattern, said in SPELT.items() if re.search(pattern, label)]
    if fig.get_figwidth() > WIDEST_INCHES + 0.01:
        found.append(f"the figure is {fig.get_figwidth():.1f} inches wide")
    panels = [ax for ax in fig.axes if ax.get_subplotspec() and (ax.axison or ax.get_title(loc="left"))]
    unnamed = [ax for ax in panels if not re.match(r"[a-z]{1,2}   ?", ax.get_title(loc="left") + "   ")]
    if len(panels) > 1 and unnamed and not any(hasattr(ax, "_colorbar") for ax in fig.axes):
        found.append(f"{len(unnamed)} of {len(panels)} panels have no letter")
    for ax in fig.axes:
        legend = ax.get_legend()
        for drawn_on in _under(ax, legend) if legend else ():
            found.append(f"the legend {legend.get_texts()[0].get_text()!r} ... lies on {drawn_on}")
        if legend is not None:
            box, inside = legend.get_window_extent(), ax.bbox
            if box.overlaps(inside) and max(inside.x0 - box.x0, box.x1 - inside.x1) > 12:
                found.append(f"the legend {legend.get_texts()[0].get_text()!r} ... is wider than its panel")
    for (one, a), (other, b) in combinations(drawn, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if wide > SLACK_PIXELS and high > SLACK_PIXELS:
            found.append(f"{one.get_text()!r} lies on {other.get_text()!r}")
    return found


def _under(ax, legend):
    """Yield what of an axes' own curves and bands lies under the letters of its legend."""
    box = legend.get_window_extent().padded(-LEGEND_EDGE_PIXELS)
    for line in ax.lines:
        path = line.get_transform().transform_path(line.get_path())
        if len(path.vertices) > 1 and line.get_linestyle() != "None" and path.intersects_bbox(box, filled=False):
            yield f"the line {line.get_label()!r}"
    for band in ax.collections:
        paths = [band.get_transform().transform_path(path) for path in band.get_paths()]
        if any(len(path.vertices) > 4 and path.intersects_bbox(box, filled=True) for path in paths):
            yield "a band"


def _shown(fig, drawn):
    """Leave out the tick labels that matplotlib keeps outside an axis' limits and does not draw."""
    hidden = set()
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            inside = {*axis._update_ticks()} if axis.get_visible() and ax.axison else set()
            hidden |= {id(label) for tick in ticks if tick not in inside for label in (tick.label1, tick.label2)}
            if not (axis.get_visible() and ax.axison):
                hidden |= {id(axis.label), id(axis.offsetText)}
    return [(text, box) for text, box in drawn if id(text) not in hidden]


def drawn_and_noted(path):
    """Return what writes a recorded figure and notes its faults, by its name, in a file."""
    save = Record.figure

    def draw(record, fig, name):
        save(record, fig, name)
        fig.set_dpi(100)
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(known | {name: faults(fig)}))

    return draw
