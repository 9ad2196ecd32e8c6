"""A study in words: how its numbers come about, a line for each variant and cell, and who is ahead."""

from collections.abc import Callable, Sequence

from xnas.report.format import duration, source_name
from xnas.report.ranking import Score, aligned, ranking
from xnas.report.results_table import count_text, share_text
from xnas.study.nasbench201.table import DATA_SETS
from xnas.study.results import Statistics, StudyResults, Summary
from xnas.study.spec import COLUMNS, NASBENCH201, briefly

Column = tuple[str, Callable[[Summary], str]]
"""A title, and what a row has below it."""


def protocol(results: StudyResults) -> str:
    """Return how the numbers come about, whatever they are."""
    spec, config = results.spec, results.config
    data = source_name(config.data.source)
    if spec.score == NASBENCH201 and results.table is not None:
        source = DATA_SETS.get(data, data)
        said = (
            f"Searched on training images of {source}, one search for each method and seed; the cells that they ended "
            f"with were looked up in {results.table.source.name}: test accuracy in per cent after 200 epochs of "
            "training by the benchmark, mean over its own trainings of each cell. All runs count, none is chosen."
        )
        if data != "cifar10":
            said += f" The benchmark's protocol is to search on CIFAR-10; {source} is another."
        return said
    parts = []
    on = "" if spec.data else f" on the training images of {data}"
    count = len(spec.variants(config))
    seeds = seeds_text(spec.search_seeds)
    if spec.has_axes and spec.search_seeds:
        parts.append(f"{count} variant{'s' * (count > 1)}, each searched with {seeds}{on}.")
    elif spec.search_seeds:
        parts.append(f"Searched by {config.search.method} with {seeds}{on}.")
    if not spec.trains:
        return " ".join((*parts, "Nothing is trained."))
    if spec.chooses:
        brief = spec.selection or briefly(config.retrain)
        each = " of a variant" if spec.has_axes else ""
        most = f"all but {100 * spec.held_out:.3g} % of the training images"
        parts.append(
            f"Each cell that was found was trained once for {_epochs(brief.epochs)} on {most}, and the one{each} with "
            "the highest accuracy on that part was selected; the test images had no say in it. (The searches had seen "
            "all training images.)"
        )
    elif len(spec.search_seeds) == 1 and not spec.has_axes:
        parts.append("There is no choice: it found one cell.")
    elif spec.search_seeds:
        parts.append("Every cell that was found counts; none is chosen.")
    if spec.train_seeds == "search":
        seeds = "the seed of its search" if spec.search_seeds else seeds_text(spec.control_seeds)
    else:
        seeds = seeds_text(spec.train_seeds)
    epochs = "" if spec.settings else f" for {_epochs(config.retrain.epochs)}"
    where = "" if spec.data else f" of {data}"
    parts.append(
        f"Each cell below was trained from scratch{epochs} on the whole training set{where} with {seeds}, and each "
        "trained network was tested once. All of them count."
    )
    return " ".join(parts)


def notes(results: StudyResults) -> str:
    """Return what the columns mean."""
    spec = results.spec
    if spec.score == NASBENCH201:
        may, other = ("may", "may not") if results.config.space.choose_none else ("may not", "may")
        return (
            "Mean ± sample standard deviation over n seeds, the lowest of them as worst, and the table's optimum in "
            f"brackets. Edges {may} end with none (space.choose_none); the last two columns are CIFAR-10 of the same "
            f"searches where they {other}. Skips are of six edges; time and memory of one search, means."
        )
    said = (
        "Test accuracy: mean ± sample standard deviation over n trained networks of so many cells; worst is the lowest "
        "of them. Time and the most memory that the process held are of one search; these and the sizes are means."
    )
    if spec.chooses:
        said += " They tell the luck of the training; of that of the selection nothing, as it was made once."
    if not spec.has_axes:
        for row in results.summaries:
            if row.spread_of_cells is not None:
                said += (
                    f" The means of {row.title} differ from each other by {100 * row.spread_of_cells:.2f} points "
                    f"(sample standard deviation, n = {row.cells} cells)."
                )
    return said


def name_columns(results: StudyResults) -> tuple[str, ...]:
    """Return what rows are told apart by: the axes that differ; single cells without axes."""
    if not results.spec.has_axes:
        return ("cell",)
    variants = results.spec.variants(results.config)
    varied = [column for column in COLUMNS if len({getattr(each, column) for each in variants}) > 1]
    return tuple(varied or ["method"])


def rows(results: StudyResults) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the table as text: its head, and a line for each summary. Numbers that no row has are left out."""
    summaries, names = results.summaries, name_columns(results)
    columns = _score_columns(results) if results.spec.score == NASBENCH201 else _COLUMNS
    numbers = [[of(summary) for summary in summaries] for _, of in columns]
    kept = [number for number, texts in enumerate(numbers) if any(texts)]
    lines = []
    for index, summary in enumerate(summaries):
        title: tuple[str, ...] = (summary.title, *[""] * (len(names) - 1))
        if summary.variant is not None and results.spec.has_axes:
            title = tuple(getattr(summary.variant, name) for name in names)
        lines.append((*title, *(numbers[number][index] for number in kept)))
    return (*names, *(columns[number][0] for number in kept)), lines


def _mean(name: str, text: Callable[[float], str]) -> Callable[[Summary], str]:
    return lambda row: text(row.numbers[name].mean) if name in row.numbers else ""


def _share(name: str) -> Callable[[Summary], str]:
    def of(row: Summary) -> str:
        found = row.numbers.get(name)
        return share_text(found.mean, found.spread) if found else ""

    return of


def _lowest(name: str) -> Callable[[Summary], str]:
    return lambda row: share_text(row.numbers[name].lowest) if name in row.numbers else ""


_SEARCH: tuple[Column, ...] = (
    ("search", _mean("search_seconds", duration)),
    ("peak memory", _mean("peak_memory_bytes", lambda value: f"{value / 2**30:.2f} GiB")),
)
_COLUMNS: tuple[Column, ...] = (
    ("test accuracy", _share("accuracy")),
    ("worst", _lowest("accuracy")),
    ("n", lambda row: str(row.n)),
    ("cells", lambda row: str(row.cells)),
    ("parameters", _mean("parameters", count_text)),
    ("mult-adds", _mean("multiply_adds", count_text)),
    ("steps", _mean("steps", "{:,.0f}".format)),
    *_SEARCH,
)


def _score_columns(results: StudyResults) -> tuple[Column, ...]:
    assert results.table is not None
    best = {key: f"{name} ({getattr(results.table.best, key):.2f})" for key, name in DATA_SETS.items()}
    return (
        (best.pop("cifar10"), _share("accuracy")),
        ("worst", _lowest("accuracy")),
        *((title, _share(key)) for key, title in best.items()),
        ("n", lambda row: str(row.n)),
        ("skips", _mean("skips", "{:.1f}".format)),
        *_SEARCH,
        (other_title(results), _share("other")),
        ("worst", _lowest("other")),
    )


def other_title(results: StudyResults) -> str:
    """Return the name of the derivation that is not the result."""
    return "none barred" if results.config.space.choose_none else "none allowed"


def selection_lines(results: StudyResults) -> list[str]:
    """Return what the cells were selected by."""
    lines = []
    for variant in dict.fromkeys(candidate.variant for candidate in results.candidates):
        candidates = [each for each in results.candidates if each.variant == variant]
        scores = [
            f"search seed {each.seed}: {share_text(each.accuracy)}"
            for each in candidates
            if each.accuracy is not None
        ]
        if scores:
            chosen = next(cell.search_seed for cell in results.cells if cell.variant == variant)
            said = "not selected yet" if chosen is None else f"search seed {chosen} was selected"
            of = f" of {variant.title}" if results.spec.has_axes else ""
            samples = max(each.samples for each in candidates)
            lines.append(
                f"Accuracy{of} on {samples:,} held-out training images: {', '.join(scores)}; {said}."
            )
    return lines


def verdict(results: StudyResults) -> str:
    """Return in words who has the highest mean, and by how much more than chance would give it.

    Variants of different data sets are not compared with each other.
    """
    spec = results.spec
    what = "accuracy on CIFAR-10" if spec.score == NASBENCH201 else "test accuracy"
    noun = "methods" if spec.compares_methods else "variants" if spec.has_axes else "kinds of cells"
    said = []
    summaries = [row for row in results.summaries if not row.part]
    for data in dict.fromkeys(row.variant.data if row.variant else "" for row in summaries):
        scores = [
            _score(row, named=spec.has_axes)
            for row in summaries
            if (row.variant.data if row.variant else "") == data and row.accuracy is not None
        ]
        line = ranking(scores, what=what, noun=noun)
        said.append(f"On {data}: {line}" if data else line)
    text = " ".join(said)
    return text if spec.has_axes else text[:1].upper() + text[1:]


def _score(row: Summary, *, named: bool) -> Score:
    assert row.accuracy is not None
    # Networks of one cell are no trials of others: several cells count as one trial each.
    spread, n = (row.spread_of_cells, row.cells) if row.cells > 1 else (row.accuracy.spread, row.n)
    if named and row.variant is not None:
        name = " ".join(row.variant.names[bool(row.variant.data) :])
    else:
        name = f"the {row.title}" if row.cells == 1 else f"the mean of {row.title}"
    return Score(
        name=name, mean=100 * row.accuracy.mean, spread=None if spread is None else 100 * spread, n=n
    )


def format_study(results: StudyResults) -> str:
    """Return the table for a terminal, below the protocol, and above what it means."""
    head, lines = rows(results)
    indented = [
        (("  " if summary.part else "") + line[0], *line[1:])
        for summary, line in zip(results.summaries, lines, strict=True)
    ]
    table = aligned([head, *indented], left=len(name_columns(results)))
    chosen = selection_lines(results)
    said = (protocol(results), *chosen, "", *table, "", notes(results), verdict(results), *results.missing)
    return "\n".join(said)


def tile(row: Summary) -> tuple[str, str]:
    """Return a mean in per cent, and what stands below it."""
    accuracy: Statistics | None = row.accuracy
    assert accuracy is not None
    spread = "" if accuracy.spread is None else f"± {100 * accuracy.spread:.2f}, "
    return f"{100 * accuracy.mean:.2f}", f"{spread}worst {100 * accuracy.lowest:.2f}, n = {row.n}"


def seeds_text(seeds: Sequence[int]) -> str:
    """Return such as "2 seeds (0, 1)"."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'' if count == 1 else 's'}"
