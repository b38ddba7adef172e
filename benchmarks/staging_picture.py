"""Draws results of benchmarks/staging.py as bars: seconds of the reference, and ours below them.

    python -m benchmarks.staging_picture "2 GiB=plain.json" "1,000 small files=small.json" > staging.svg

Each file holds what ``benchmarks/staging.py --json`` printed.
"""

import json
import sys
from pathlib import Path

import leather

WIDTH, ROW = 900, 32
_FONT = "Helvetica, Arial, sans-serif"
_OURS, _REFERENCE = "#1860f2", "#b0b4ba"

Row = tuple[float, str]


def rows(results: list[tuple[str, dict[str, dict[str, float]]]]) -> list[Row]:
    """Seconds and label of each bar, from the topmost to the lowest.

    Args:
        results: Title of each measurement and what ``benchmarks/staging.py --json`` printed.
    """
    found: list[Row] = []
    for title, result in results:
        ours, reference, ratio = (result[name] for name in ("ours", "reference", "ratio"))
        found.append((reference["wall_s"], f"{title}: {reference['wall_s']:.1f} s"))
        found.append((ours["wall_s"], f"{title}, ours: {ours['wall_s']:.1f} s ({ratio['faster']:.1f} times faster)"))
    return found


def picture(bars: list[Row]) -> str:
    """Returns the bars as SVG, ours in blue."""
    theme = leather.theme
    theme.tick_font_family = theme.axis_title_font_family = _FONT
    theme.background_color = "#ffffff"
    chart = leather.Chart()
    chart.add_bars(bars, fill_color=lambda bar: _OURS if ", ours: " in bar.y else _REFERENCE)
    chart.add_x_scale(0, 1.05 * max(seconds for seconds, _ in bars))
    chart.add_x_axis(name="seconds")
    height = 70 + ROW * len(bars)
    drawn = str(chart.to_svg(width=WIDTH, height=height))
    return drawn.replace("<svg ", f'<svg viewBox="0 0 {WIDTH} {height}" ', 1)


def main() -> None:
    """Read the named results and print the picture."""
    named = [argument.partition("=") for argument in sys.argv[1:]]
    if not named or not all(path for _, _, path in named):
        raise SystemExit(__doc__)
    print(picture(rows([(title, json.loads(Path(path).read_text())) for title, _, path in named])))


if __name__ == "__main__":
    main()
