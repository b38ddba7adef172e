"""Throughput, time to first token and time between tokens by rate, as one SVG."""

from collections.abc import Callable, Sequence

from serving.benchmark.result import BenchmarkResult, Spread, StageResult

WIDTH, HEIGHT = 460, 300
_FONT = "Helvetica, Arial, sans-serif"
_NOW, _NOW_TAIL, _BEFORE = "#1860f2", "#0b2f7a", "#b0b4ba"

SpreadOf = Callable[[StageResult], Spread | None]
Value = Callable[[StageResult], float | None]
Line = tuple[str, str, Value]
Panel = tuple[str, str, tuple[Line, ...]]


def _in(unit: float, of: SpreadOf, percentile: str) -> Value:
    def value(stage: StageResult) -> float | None:
        spread = of(stage)
        return None if spread is None else unit * (spread.p50 if percentile == "p50" else spread.p99)

    return value


def _both(unit: float, of: SpreadOf) -> tuple[Line, ...]:
    return (("p50", _NOW, _in(unit, of, "p50")), ("p99", _NOW_TAIL, _in(unit, of, "p99")))


_STREAMED: tuple[Panel, ...] = (
    ("Output tokens per second", "", (("now", _NOW, lambda stage: stage.output_tokens_per_second),)),
    ("Time to first token", "ms", _both(1000, lambda stage: stage.first_token)),
    ("Time between tokens", "ms", _both(1000, lambda stage: stage.inter_token)),
)
_WHOLE: tuple[Panel, ...] = (
    ("Answers per second", "", (("now", _NOW, lambda stage: stage.requests_per_second),)),
    ("Time of an answer", "s", _both(1, lambda stage: stage.latency)),
)


def charts(result: BenchmarkResult, before: BenchmarkResult | None = None) -> str:
    """Returns the picture: one panel each, the result before in grey behind it.

    Args:
        result: At least one request of it was answered.
        before: The result of the same load before; None: none.
    """
    streams = any(stage.first_token is not None for stage in result.stages)
    panels = [
        _panel(title, unit, lines, result.stages, before.stages if before else ())
        for title, unit, lines in (_STREAMED if streams else _WHOLE)
    ]
    width = WIDTH * len(panels)
    placed = [panel.replace("<svg ", f'<svg x="{WIDTH * number}" ', 1) for number, panel in enumerate(panels)]
    # A browser scales a picture that says its own size; without a view box it would cut it.
    size = f'width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(placed)}</svg>'


def _panel(
    title: str, unit: str, lines: Sequence[Line], now: Sequence[StageResult], before: Sequence[StageResult]
) -> str:
    import leather  # takes its time, and only load tests draw

    theme = leather.theme
    theme.title_font_family = theme.legend_font_family = theme.tick_font_family = theme.axis_title_font_family = _FONT
    theme.background_color = "#ffffff"
    theme.legend_font_size, theme.legend_font_char_width = 12, 7
    chart = leather.Chart(title)
    drawn = [0.0]
    for name, colour, value in lines:
        for label, shade, stages in ((_before_label(name), _BEFORE, before), (name, colour, now)):
            points = _points(stages, value)
            drawn += [y for _, y in points]
            if len(points) > 1:
                chart.add_line(points, stroke_color=shade, name=label)
            elif points:
                chart.add_dots(points, fill_color=shade, radius=4, name=label)
    chart.add_x_axis(name="requests per second")
    chart.add_y_axis(name=unit or None)
    chart.add_y_scale(0, 1.1 * max(drawn) or 1)
    rates = [stage.rate for stage in now]
    if len(set(rates)) == 1:
        chart.add_x_scale(0, 2 * rates[0])
    return str(chart.to_svg(width=WIDTH, height=HEIGHT))


def _before_label(name: str) -> str:
    return "before" if name == "now" else f"{name} before"


def _points(stages: Sequence[StageResult], value: Value) -> list[tuple[float, float]]:
    found = [(stage.rate, value(stage)) for stage in stages]
    return sorted((rate, number) for rate, number in found if number is not None)
