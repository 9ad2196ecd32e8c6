"""The pictures of a bench: what the searches would find, epoch by epoch, and how healthy they are."""

from collections.abc import Callable, Iterator, Mapping

from xnas.report.figures.run import Picture
from xnas.study.comparison.figures import Lines, draw_courses, gather, method_colours
from xnas.study.nasbench201.oracle_curves import draw_oracle
from xnas.study.nasbench201.score import Bench, Moment
from xnas.study.nasbench201.table import DATA_SETS


def bench_pictures(bench: Bench) -> Iterator[Picture]:
    """The pictures, in the order of the page."""
    colours = method_colours(bench.plan.methods)
    for number, (key, name) in enumerate(DATA_SETS.items()):
        lines, drawn = _oracle(bench, key)
        if lines:
            yield Picture(
                f"oracle-{key.replace('_', '-')}",
                "others" if number else "first",
                f"{name}: accuracy of the cell that would be derived after each epoch, a line for each method",
                draw_oracle(
                    f"{name}: accuracy of the cell of each epoch, by the table (%)",
                    lines,
                    drawn,
                    colours,
                    optimum=getattr(bench.best, key),
                    size=(5.2, 3.3) if number else (11.0, 4.6),
                ),
            )
    for name, title, value, percent in _CURVES:
        if lines := _lines(bench, value):
            yield Picture(
                name,
                "health",
                f"{title} by epoch, a line for each method",
                draw_courses(title, lines, colours, percent),
            )


def _oracle(bench: Bench, key: str) -> tuple[Lines, Mapping[str, list[float]]]:
    """The courses of the searches, and the cells that were found without one."""

    def accuracy(moment: Moment) -> float | None:
        cell = moment.cells.get(bench.choose_none)
        return None if cell is None else float(getattr(cell.accuracies, key))

    lines = _lines(bench, accuracy)
    found = {
        method: [
            float(getattr(run.found[bench.choose_none].accuracies, key))
            for run in bench.of(method)
            if run.found
        ]
        for method in bench.plan.methods
        if method not in lines
    }
    return lines, {method: values for method, values in found.items() if values}


def _lines(bench: Bench, value: Callable[[Moment], float | None]) -> Lines:
    return gather(
        {
            method: [[(moment.epoch, value(moment)) for moment in run.moments] for run in bench.of(method)]
            for method in bench.plan.methods
        }
    )


_CURVES: tuple[tuple[str, str, Callable[[Moment], float | None], bool], ...] = (
    ("entropy", "Mean normalised entropy of u", lambda moment: moment.entropy, False),
    ("skip", "Edges led by a skip connection", lambda moment: moment.skip, True),
    ("survivors", "Experts alive", lambda moment: moment.alive, True),
)
