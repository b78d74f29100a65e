"""A chart of seconds against events as SVG, both axes logarithmic; readable on light and dark pages."""

import math

Series = tuple[str, list[tuple[float, float]]]  # a name, and its points

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 150, 20, 50
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")  # told apart by the colour-blind too
_DASHES = ("4,0", "7,3", "2,3", "9,3,2,3", "1,4")


def chart_svg(series: list[Series]) -> str:
    """The chart; without points, an empty one."""
    points = [point for _, found in series for point in found] or [(1.0, 1.0)]
    x_range, y_range = (_decades([point[axis] for point in points]) for axis in (0, 1))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        *_axes(x_range, y_range),
    ]
    ends: list[float] = []
    for number, (name, found) in enumerate(series):
        places = [(_x(events, x_range), _y(seconds, y_range)) for events, seconds in found]
        label = _free(places[-1][1], ends)
        ends.append(label)
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{_DASHES[number % len(_DASHES)]}"'
        parts.append(f'<polyline points="{path}" {style}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        parts.append(f'<text x="{_WIDTH - _RIGHT + 12}" y="{label + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _decades(values: list[float]) -> tuple[int, int]:
    """The powers of ten around the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _x(value: float, decades: tuple[int, int]) -> float:
    part = (math.log10(value) - decades[0]) / (decades[1] - decades[0])
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, decades: tuple[int, int]) -> float:
    part = (math.log10(value) - decades[0]) / (decades[1] - decades[0])
    return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)


def _axes(x_range: tuple[int, int], y_range: tuple[int, int]) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for power in range(x_range[0], x_range[1] + 1):
        x = _x(10.0**power, x_range)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{10**power:,}</text>')
    for power in range(y_range[0], y_range[1] + 1):
        y = _y(10.0**power, y_range)
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    middle = (_LEFT + right) / 2
    return [*parts, f'<text x="{middle:.0f}" y="{_HEIGHT - 10}" text-anchor="middle">events</text>']


def _free(wanted: float, taken: list[float]) -> float:
    """A height for a label near the wanted one, apart from others."""
    while any(abs(wanted - other) < 16 for other in taken):
        wanted += 4
    return wanted
