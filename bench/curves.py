"""The growth curves: load, one change and connect() over the number of Services, as SVG and PNG.

Both axes are logarithmic: what grows with the square of the Services is twice as steep as what
grows with their number.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

import connecting
from figures import Measured, all_changes
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from programming import Programmed

_COLOURS = {"podwire": "tab:blue", "kube-proxy": "tab:orange"}
_WORDS = {"podwire": "podwire", "kube-proxy": "kube-proxy's layout"}


def draw(found: Measured, folder: Path) -> list[Path]:
    """services.svg and services.png in the folder."""
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    load, change, connect = figure.subplots(1, 3)
    _grow(load, found, lambda run: run.load_s, "from decoded objects to the kernel, s")
    _grow(change, found, _median_change, "one endpoint changes, p50, ms")
    _connects(connect, found)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"services.{kind}" for kind in ("svg", "png")]
    for path in paths:
        figure.savefig(path, dpi=144)
    return paths


def _median_change(run: Programmed) -> float | None:
    times = all_changes(run)
    return statistics.median(times) if times else None


def _grow(
    axes: Axes, found: Measured, value: Callable[[Programmed], float | None], words: str
) -> None:
    """One line for each layout and number of endpoints; the median where there are several."""
    for layout, endpoints in sorted({(run.layout, run.endpoints) for run in found.loads}):
        runs = [run for run in found.loads if (run.layout, run.endpoints) == (layout, endpoints)]
        points = sorted(_medians((run.services, value(run)) for run in runs).items())
        few = endpoints == found.sizes.few_endpoints
        axes.plot(
            [services for services, _ in points],
            [height for _, height in points],
            color=_COLOURS[layout],
            marker="o" if few else "s",
            linestyle="-" if few else "none",
            label=f"{_WORDS[layout]}, {endpoints} endpoints each",
        )
    axes.set(xscale="log", yscale="log", xlabel="Services", title=words)
    axes.grid(which="both", alpha=0.25)
    axes.legend()


def _medians(pairs: Iterable[tuple[int, float | None]]) -> dict[int, float]:
    by_size: dict[int, list[float]] = {}
    for services, height in pairs:
        if height is not None:
            by_size.setdefault(services, []).append(height)
    return {services: statistics.median(values) for services, values in by_size.items()}


def _connects(axes: Axes, found: Measured) -> None:
    """A box for each way, from the medians of its rounds."""
    words = {
        connecting.DIRECT: "direct",
        connecting.BESIDE: f"direct beside\n{found.sizes.services:,}",
        connecting.FEW: f"podwire\n{found.sizes.few:,}",
        connecting.MANY: f"podwire\n{found.sizes.services:,}",
        connecting.LAYOUT: f"layout\n{found.sizes.services:,}",
    }
    heights = [[batch.p50 for batch in found.connects[name]] for name in words]
    axes.boxplot(heights, tick_labels=list(words.values()), showfliers=False)
    axes.set(title="connect(), p50 of each round, µs", ylim=(0, None))
    axes.grid(axis="y", alpha=0.25)
