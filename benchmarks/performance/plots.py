"""Plots as SVG: stacked bars, bars and lines. Small files that show the same everywhere, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 860
LEFT, RIGHT, TOP, BOTTOM = 250, 40, 46, 44  # margins
BAR, GAP = 22, 12
PLOT = 300  # height of a plot of lines
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#332288", "#ee8866", "#44bb99")
"""Paul Tol's bright scheme, which people with colour blindness can tell apart."""
TICKS = 6
MARK, LIMIT = 'stroke="#000000" stroke-width="2"', 'stroke="#000000" stroke-width="1.5" stroke-dasharray="6 4"'

Series = Sequence[tuple[float, float]]


def stacked(title: str, unit: str, bars: Mapping[str, Mapping[str, float]], marks: Mapping[str, float]) -> str:
    """Horizontal bars of parts laid end to end, in order. marks: a value to mark on a bar, by the bar's name."""
    names = list(dict.fromkeys(name for parts in bars.values() for name in parts))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    legend_rows = math.ceil(len(names) / 3)
    top = TOP + 20 * legend_rows
    height = top + len(bars) * (BAR + GAP) + BOTTOM
    highest = max([*(sum(parts.values()) for parts in bars.values()), *marks.values()])
    ticks = steps(highest)
    scale = (WIDTH - LEFT - RIGHT) / ticks[-1]
    drawn = [_text(LEFT, 24, title, "start", bold=True)]
    for number, name in enumerate(names):
        x, y = LEFT + number % 3 * 190.0, TOP + 20.0 * (number // 3)
        drawn += [_box(x, y - 10, 12, 12, colours[name]), _text(x + 18, y, name)]
    for tick in ticks:
        x = LEFT + tick * scale
        drawn += [_line(x, top, x, height - BOTTOM), _text(x, height - BOTTOM + 18, f"{tick:g}", "middle")]
    drawn.append(_text(WIDTH - RIGHT, height - 6, unit, "end"))
    for number, (bar, parts) in enumerate(bars.items()):
        x, y = float(LEFT), top + GAP / 2 + number * (BAR + GAP)
        drawn.append(_text(LEFT - 8, y + BAR / 2 + 5, bar, "end"))
        for name, value in parts.items():
            drawn.append(_box(x, y, value * scale, BAR, colours[name], f"{bar}, {name}: {value:.3g} {unit}"))
            x += value * scale
        if bar in marks:
            at = LEFT + marks[bar] * scale
            drawn.append(_line(at, y - 4, at, y + BAR + 4, MARK))
    return _page(height, drawn)


def lines(title: str, units: tuple[str, str], series: Mapping[str, Series], *, limit: float | None = None) -> str:
    """One line for each series of (x, y), from zero. units: of x and y. limit: of y, to mark with a dashed line."""
    return _lines(title, units, series, steps(max(x for one in series.values() for x, _ in one)), limit)


def lines_over_decades(title: str, units: tuple[str, str], series: Mapping[str, Series]) -> str:
    """The same with x from one power of ten to another, each at the same distance; all x are above 0."""
    lengths = [math.log10(x) for one in series.values() for x, _ in one]
    first, last = math.floor(min(lengths)), math.ceil(max(lengths))
    ticks = [float(power) for power in range(first, max(last, first + 1) + 1)]
    flat = {name: [(math.log10(x), y) for x, y in one] for name, one in series.items()}
    return _lines(title, units, flat, ticks, None, decades=True)


def _lines(
    title: str,
    units: tuple[str, str],
    series: Mapping[str, Series],
    x_ticks: Sequence[float],
    limit: float | None,
    *,
    decades: bool = False,
) -> str:
    left, top = 70, TOP + 20 * len(series) + 16
    height = top + PLOT + BOTTOM
    y_ticks = steps(max([*(y for one in series.values() for _, y in one), limit or 0.0]))
    x_scale, y_scale = (WIDTH - left - RIGHT) / (x_ticks[-1] - x_ticks[0]), PLOT / y_ticks[-1]
    origin, bottom = left - x_ticks[0] * x_scale, top + PLOT
    drawn = [_text(left, 24, title, "start", bold=True)]
    for tick in x_ticks:
        x = origin + tick * x_scale
        label = f"{10**tick if decades else tick:g}"
        drawn += [_line(x, top, x, bottom), _text(x, bottom + 18, label, "middle")]
    for tick in y_ticks:
        y = bottom - tick * y_scale
        drawn += [_line(left, y, WIDTH - RIGHT, y), _text(left - 8, y + 5, f"{tick:g}", "end")]
    drawn += [_text(WIDTH - RIGHT, height - 6, units[0], "end"), _text(left, top - 8, units[1])]
    if limit is not None:
        y = bottom - limit * y_scale
        drawn.append(_line(left, y, WIDTH - RIGHT, y, LIMIT))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{origin + x * x_scale:.1f},{bottom - y * y_scale:.1f}" for x, y in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= TICKS:
            drawn += [_dot(origin + x * x_scale, bottom - y * y_scale, colour) for x, y in points]
        y = TOP + 20 * number
        drawn += [_box(left, y - 10, 12, 12, colour), _text(left + 18, y, name)]
    return _page(height, drawn)


def steps(highest: float) -> list[float]:
    """Round numbers from 0 to the first that is not below `highest`, at most `TICKS` steps."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [round(number * step, 10) for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _text(x: float, y: float, text: str, anchor: str = "start", *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, colour: str, title: str = "") -> str:
    inner = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}">{inner}</rect>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str = 'stroke="#dddddd"') -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _page(height: float, drawn: Sequence[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    style = 'font-family="sans-serif" font-size="13" fill="#222222"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *drawn, "</svg>", ""])
