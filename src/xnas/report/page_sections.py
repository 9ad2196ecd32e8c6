"""The parts of the report, from the answer to the particulars. Each takes values and gives HTML, or nothing."""

import shlex

from xnas.report.duration import duration
from xnas.report.markup import answer, escape, figure, folded, pairs, section, table
from xnas.report.pictures import drawn_edges
from xnas.report.table import Row, accuracy_text, count_text, interval_text, verdict
from xnas.runs.folder import RunRecord
from xnas.runs.history import Group
from xnas.space.architecture import Architecture, architecture_text
from xnas.space.nasbench201.genotype import Nasbench201Genotype

_WIPEOUTS_SHOWN = 8
_GROUPS_NAMED = 8


def header(run: RunRecord, rows: list[Row]) -> str:
    """The answer first: accuracy, cost, data, seed, time; then what is missing, and who is ahead."""
    found = next((row for row in rows if row.kind == "found"), None)
    source = run.setting("data", "source")
    seed = run.setting(None, "seed")
    if seed is None and run.result:
        seed = run.result.seed
    tiles = []
    if found and run.result:
        interval = interval_text(found)
        kind = "held-out" if holds_out(run) else "test"
        sure = f"95 % interval {interval}, n = {run.result.test_samples:,} {kind} images, one training"
        tiles += [
            ("first", f"{kind.capitalize()} accuracy", accuracy_text(found), sure),
            ("", "Parameters", count_text(found.parameters), f"{run.result.parameters:,}"),
            ("", "Multiply-adds", count_text(found.multiply_adds), "for one image"),
        ]
    if source is not None:
        tiles.append(("", "Data set", str(source), ""))
    if seed is not None:
        tiles.append(("", "Seed", str(seed), ""))
    if timing := _timing(run):
        total = sum(seconds for _, seconds in timing)
        detail = ", ".join(f"{phase} {duration(seconds)}" for phase, seconds in timing)
        tiles.append(("", "Time", duration(total), detail))
    devices = [run.environment.get(key) for key in ("device_name", "device")]
    device = next((name for name in devices if name and isinstance(name, str)), None)
    lesser = "Architecture search with expert advice" + (f", on {device}" if device else "")
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in _missing(run))
    said = f'<p class="verdict">{escape(verdict(rows))}</p>\n' if rows else ""
    return (
        f'<header>\n<h1>{escape(run.name)}</h1>\n<p class="lesser">{escape(lesser)}</p>\n'
        f"{answer(tiles)}{notes}{said}</header>"
    )


def cells(architecture: Architecture | None, pictures: list[str]) -> str:
    """All cells."""
    if not pictures:
        return ""
    if isinstance(architecture, Nasbench201Genotype):
        caption = (
            "All cells are this one. Node 0 is its input; each node sums all earlier nodes, each through an operation; "
            "node 3 is its output."
        )
    else:
        caption = (
            "Each node sums two operations on earlier nodes. Node 0 is the output of the cell before the last, node 1 "
            "that of the last; dotted lines are concatenated to the cell's output."
        )
    shown = "".join(figure(picture, scroll=True) for picture in pictures)
    return section("The cells", f'<p class="lesser">{caption}</p><div class="cells">{shown}</div>')


def results(rows: list[Row]) -> str:
    """The table of the found cell and its controls."""
    if not rows:
        return ""
    classes = {"found": "found", "random mean": "mean", "random": "random", "other": "other"}
    lines = [
        (
            classes[row.kind],
            (
                escape(row.name),
                escape(accuracy_text(row)),
                escape(interval_text(row)) or "",
                escape(count_text(row.parameters)),
                escape(count_text(row.multiply_adds)),
                escape(row.notes),
            ),
        )
        for row in rows
    ]
    head = ("network", "test accuracy", "95 % interval", "parameters", "multiply-adds", "")
    note = (
        '<p class="lesser">Every network was trained once, from scratch, and tested once. The interval (Wilson) is '
        "the chance of the test images alone; sd is the sample standard deviation over the random cells.</p>"
    )
    return section("Result and controls", table(head, lines, left=(5,)) + note)


def curves(pictures: list[str]) -> str:
    """Losses and accuracies."""
    return section("Training", pairs(pictures))


def experts(run: RunRecord, weights: list[str], survivors: list[str]) -> str:
    """Expert weights, survivors and wipeouts."""
    if not weights:
        return ""
    note = (
        '<p class="lesser">u is the share that an expert has in its edge\'s mixture, written down at the end of '
        "every epoch. A cross shows when an expert was wiped out, at its last weight on record.</p>"
    )
    return section(
        "What the experts did",
        note
        + _undrawn(run)
        + "".join(figure(picture, scroll=True) for picture in weights)
        + pairs(survivors)
        + _wipeouts(run),
    )


def groups(run: RunRecord) -> str:
    """What the search of each group was fixed by."""
    found = run.course.groups.values()
    lines = [
        (
            "",
            (
                escape(group.name),
                escape(group.optimizer),
                str(len(group.edges)),
                str(len(group.experts)),
                str(group.replicas),
                escape(group.feedback),
                f"{group.horizon:,}",
                f"{group.step_size:.3g}",
                _bound_text(group),
                "no wipeout" if group.zeta is None else f"{group.zeta:g}",
            ),
        )
        for group in found
    ]
    if not lines:
        return ""
    head = (
        "group",
        "optimizer",
        "edges",
        "experts<br>N",
        "replicas<br>r",
        "one feedback<br>is from one",
        "horizon T<br>(feedbacks)",
        "step size<br>η",
        "reward<br>bound L",
        "wipeout<br>ζ",
    )
    if any(group.scaled for group in found):
        rewards = (
            "XNAS clips no rewards here, but takes those of each edge in units of √V, the root of the sum of H², H "
            "half of a round's range: log-weights are η / √V times the sums of rewards, and L is the largest H so far "
            "over √V"
        )
    else:
        rewards = "XNAS clips rewards (loss per unit of mixture weight, in nats) to -L to L"
    note = (
        '<p class="lesser">The cells that share a group\'s weights are its replicas. T counts the feedbacks that every '
        f"expert gets in the whole search. {rewards}; by its wipeout an expert goes when its log-weight falls more "
        "than 2 η L (T - t) ζ below its edge's best, t feedbacks into the search; with ζ = 1 only those go that could "
        "not win any more.</p>"
    )
    return section("Settings of the groups", table(head, lines, left=(1,)) + note)


def _bound_text(group: Group) -> str:
    if group.reward_bound is None:
        return "not clipped"
    return "none" if group.scaled else f"{group.reward_bound:g}"


def particulars(run: RunRecord) -> str:
    """How to do it again, and the files that say how it was done."""
    parts = []
    if commands := _commands(run):
        parts.append(f'<pre class="wrap">{escape(commands)}</pre>')
    if run.config_text is not None:
        parts.append(folded("Settings (config.toml)", run.config_text))
    if run.genotype is not None:
        parts.append(folded("Architecture (genotype.json)", run.genotype.to_json()))
        parts.append(folded("Architecture as text", architecture_text(run.genotype), wrap=True))
    if run.environment_text is not None:
        parts.append(folded("Environment (environment.json)", run.environment_text, wrap=True))
    return section("To do it again", "\n".join(parts))


def _timing(run: RunRecord) -> list[tuple[str, float]]:
    names = {"retrain": "training"}
    return [(names.get(phase, phase), seconds) for phase, seconds in run.seconds.items()]


def _missing(run: RunRecord) -> list[str]:
    """What an unfinished run lacks, in sentences."""
    notes = []
    for what, section_name, rows in (
        ("search", "search", [row.epoch for row in run.course.search]),
        ("training from scratch", "retrain", [row.epoch for row in run.course.retrain]),
    ):
        planned = run.setting(section_name, "epochs")
        if rows and isinstance(planned, int) and rows[-1] < planned:
            tail = _standing_of_cells(run) if section_name == "search" and run.genotype else ""
            reached = f"{rows[-1]} of {planned} epochs are on record{tail}"
            notes.append(f"The {what} has not ended: {reached}. xnas resume goes on with it.")
    if run.result is None and not run.course.retrain:
        notes.append("No network has been trained from scratch and tested yet.")
    if run.untested:
        notes.append(f"Controls without a result yet: {', '.join(run.untested)}.")
    if holds_out(run):
        notes.append(
            "Where this page says test, it means training images that were held out of the training (data.held_out); "
            "the test images were not read."
        )
    return notes


def holds_out(run: RunRecord) -> bool:
    """Whether held-out training images stood in for the test images."""
    data = run.config.get("data")
    share = data.get("held_out", 0) if isinstance(data, dict) else 0
    return isinstance(share, int | float) and share > 0


def _standing_of_cells(run: RunRecord) -> str:
    heard = any(weights.feedbacks for row in run.course.search for weights in row.groups.values())
    if heard:
        return "; the cells below are its choice as it stood then"
    return "; by then no expert had been rewarded, so the cells below may mean nothing"


def _undrawn(run: RunRecord) -> str:
    whole = [name for name, edges in drawn_edges(run.course).items() if not edges]
    if not whole:
        return ""
    some = ", ".join(whole[:_GROUPS_NAMED]) + (", ..." if len(whole) > _GROUPS_NAMED else "")
    return f"<p>Not drawn, as there would be too many curves: {escape(some)}.</p>"


def _wipeouts(run: RunRecord) -> str:
    gone = run.course.wipeouts
    if not gone:
        return "<p>No expert was wiped out.</p>"
    total = sum(len(group.edges) * len(group.experts) for group in run.course.groups.values())
    lines = [
        (
            "",
            (
                escape(wipeout.group),
                escape(run.course.groups[wipeout.group].edges[wipeout.edge]),
                escape(wipeout.expert),
                str(wipeout.epoch),
                f"{wipeout.round:,}",
                f"{wipeout.feedbacks:,} of {run.course.groups[wipeout.group].horizon:,}",
            ),
        )
        for wipeout in gone[:_WIPEOUTS_SHOWN]
    ]
    some = f"; the first {_WIPEOUTS_SHOWN}:" if len(gone) > _WIPEOUTS_SHOWN else ":"
    head = ("group", "edge", "expert", "epoch", "round", "feedbacks t of T")
    return f"<h3>Wipeouts</h3><p>{len(gone)} of {total} experts were wiped out{some}</p>" + table(
        head, lines, left=(1, 2)
    )


def _commands(run: RunRecord) -> str:
    given = run.environment.get("command")
    words = [word for word in given if isinstance(word, str)] if isinstance(given, list) else []
    lines = []
    if words:
        lines += ["# as it was called", shlex.join(words)]
    if run.config_text is not None and words[1:2] in (["run"], ["search"]):
        again = ["xnas", words[1], "--config", f"{run.name}/config.toml"]
        if randoms := sum(name.startswith("random-") for name in run.controls):
            again += ["--controls", str(randoms)]
        lines += ["# from this folder's settings", shlex.join(again)]
    return "\n".join(lines)
