"""What makes a figure unprintable: texts on one another, texts cut off at the edge, letters too small to read."""

import json
from itertools import combinations
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

SMALLEST_POINTS = 6.0
SLACK_PIXELS = 1.5


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
    for ax in fig.axes:
        legend = ax.get_legend()
        if legend is not None:
            box, inside = legend.get_window_extent(), ax.bbox
            if box.overlaps(inside) and max(inside.x0 - box.x0, box.x1 - inside.x1) > 12:
                found.append(f"the legend {legend.get_texts()[0].get_text()!r} ... is wider than its panel")
    for (one, a), (other, b) in combinations(drawn, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if wide > SLACK_PIXELS and high > SLACK_PIXELS:
            found.append(f"{one.get_text()!r} lies on {other.get_text()!r}")
    return found


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


def watch(path):
    """From now on write down the faults of every recorded figure, by its name."""
    from dlrs.results import Record

    save = Record.figure

    def figure(self, fig, name):
        save(self, fig, name)
        fig.set_dpi(100)
        known = json.loads(Path(path).read_text()) if Path(path).is_file() else {}
        Path(path).write_text(json.dumps(known | {name: faults(fig)}))

    Record.figure = figure
