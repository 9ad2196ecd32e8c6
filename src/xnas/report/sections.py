"""Sections of a run's page."""

# ruff: noqa: RUF001

import shlex
from collections.abc import Iterator, Mapping

from xnas.report.figures.health import heard_groups, regret_checks
from xnas.report.figures.run import drawn_edges
from xnas.report.format import duration
from xnas.report.health import concerns, health_of, scale_words
from xnas.report.html import answer, escape, figure, folded, pairs, section, table
from xnas.report.regret import RegretCheck
from xnas.report.results_table import ResultRow, accuracy_text, count_text, interval_text, verdict
from xnas.runs.folder import RunRecord
from xnas.runs.history import Group, GroupWeights, History
from xnas.space.architecture import Architecture, architecture_text
from xnas.space.nasbench201.genotype import Nasbench201Genotype

_WIPEOUTS_SHOWN = 8


_GROUPS_NAMED = 8


def header(run: RunRecord, rows: list[ResultRow]) -> str:
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


def results(rows: list[ResultRow]) -> str:
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
    found = run.history.groups.values()
    lines = [
        (
            "",
            (
                escape(group.name),
                escape(group.method),
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
        "method",
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
        ("search", "search", [row.epoch for row in run.history.search]),
        ("training from scratch", "retrain", [row.epoch for row in run.history.retrain]),
    ):
        planned = run.setting(section_name, "epochs")
        if rows and isinstance(planned, int) and rows[-1] < planned:
            tail = _standing_of_cells(run) if section_name == "search" and run.genotype else ""
            reached = f"{rows[-1]} of {planned} epochs are on record{tail}"
            notes.append(f"The {what} has not ended: {reached}. xnas resume goes on with it.")
    if run.result is None and not run.history.retrain:
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
    heard = any(weights.feedbacks for row in run.history.search for weights in row.groups.values())
    if heard:
        return "; the cells below are its choice as it stood then"
    return "; by then no expert had been rewarded, so the cells below may mean nothing"


def _undrawn(run: RunRecord) -> str:
    whole = [name for name, edges in drawn_edges(run.history).items() if not edges]
    if not whole:
        return ""
    some = ", ".join(whole[:_GROUPS_NAMED]) + (", ..." if len(whole) > _GROUPS_NAMED else "")
    return f"<p>Not drawn, as there would be too many curves: {escape(some)}.</p>"


def _wipeouts(run: RunRecord) -> str:
    gone = run.history.wipeouts
    if not gone:
        return "<p>No expert was wiped out.</p>"
    total = sum(len(group.edges) * len(group.experts) for group in run.history.groups.values())
    lines = [
        (
            "",
            (
                escape(wipeout.group),
                escape(run.history.groups[wipeout.group].edges[wipeout.edge]),
                escape(wipeout.expert),
                str(wipeout.epoch),
                f"{wipeout.step:,}",
                f"{wipeout.feedbacks:,} of {run.history.groups[wipeout.group].horizon:,}",
            ),
        )
        for wipeout in gone[:_WIPEOUTS_SHOWN]
    ]
    some = f"; the first {_WIPEOUTS_SHOWN}:" if len(gone) > _WIPEOUTS_SHOWN else ":"
    head = ("group", "edge", "expert", "epoch", "step", "feedbacks t of T")
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


def promise(run: RunRecord, regret: list[str], factors: list[str]) -> str:
    """Regret and its bound over time, wipeout factors and clipped rewards, and a table of the end."""
    told = regret_checks(run.history)
    if not told:
        return ""
    last = {name: points[-1] for name, points in told.items()}
    lines = [("", _promise_line(name, promise)) for name, (_, promise) in last.items()]
    head = (
        "group",
        "regret,<br>mean",
        "regret,<br>worst",
        "its<br>bound",
        "without<br>wipeout",
        "theorem<br>1's",
        "gap",
        "forecasters<br>within bound",
        "wipeout<br>factor γ",
        "rewards<br>clipped",
        "mean<br>|R|",
    )
    epoch = max(epoch for epoch, _ in last.values())
    kept = sum(promise.kept for _, promise in last.values())
    count = sum(promise.forecasters for _, promise in last.values())
    many = f"all {count}" if kept == count else f"{kept} of {count}"
    verdict = f"After epoch {epoch} the regret of {many} forecasters is within its bound."
    notes = "".join(f'<p class="lesser">{escape(note)}</p>\n' for note in _cautions(run.history, last))
    return section(
        "Did the search keep its promise?",
        f'<p class="verdict">{escape(verdict)}</p>\n'
        + "".join(figure(picture, scroll=True) for picture in regret)
        + table(head, lines)
        + pairs(factors)
        + notes,
    )


def health(run: RunRecord, pictures: list[str]) -> str:
    """How far the search has decided and for what, what it still computes, and what there was to be worried about."""
    if not pictures:
        return ""
    return section(
        "The health of the search",
        _warnings(run.history)
        + "".join(figure(picture, scroll=True) for picture in pictures)
        + _numbers(run.history),
    )


_LEGEND = (
    "Entropy is -sum u ln u / ln N, the mean over the forecasters of a group. The leader of a forecaster is its "
    "expert with the largest weight; experts that are level share the lead. Above the dotted line more than half of "
    "a group's leaders are skip connections, as in searches that collapse."
)


_LEGEND_OF_LEADS = (
    " A forecaster is decided when its lead (in ln v) exceeds 2 η L (T - t), by which what is still to be heard can "
    "change it; the lead given is the median, as a share of that."
)


def _promise_line(name: str, promise: RegretCheck) -> tuple[str, ...]:
    return (
        escape(name),
        f"{promise.mean_regret:.3g}",
        f"{promise.regret:.3g}",
        f"{promise.bound:.3g}",
        f"{promise.bound_without_wipeout:.3g}",
        f"{promise.theorem:.3g}",
        f"{promise.gap:.3g}",
        f"{promise.kept} of {promise.forecasters}",
        f"{promise.gamma:.3g}",
        f"{promise.clip_rate:.1%}",
        f"{promise.reward_size:.2g}",
    )


_BOUND_OF_CLIPPED = (
    "The bound, η L² t / 2 + (ln N - ln γ) / η after t feedbacks, is about clipped rewards, and about"
)


_BOUND_OF_SCALED = (
    "V is the sum of H² over the rounds so far, H half of the range of a round's rewards. The bound, ln N / η + the "
    "sum of min(η H² / (2 √V), 2 H) over √V, each round with the V before it, needs neither L nor T. It takes the "
    "place of theorem 1's, and leaves out what wipeout gains. It is about"
)


def _cautions(history: History, last: Mapping[str, tuple[int, RegretCheck]]) -> Iterator[str]:
    """What the bound is about and what not, in sentences."""
    regret_checks = [promise for _, promise in last.values()]
    scaled = any(promise.scaled for promise in regret_checks)
    unit = "units of √V" if scaled else "nats"
    bound = _BOUND_OF_SCALED if scaled else _BOUND_OF_CLIPPED
    yield (
        "Regret is what the best expert still alive would have earned beyond the mixture: the sum of its rewards "
        f"so far less that of the mixture's, in {unit}. Worst is the forecaster nearest to its bound, and the "
        f"columns up to the gap are about it. {bound} losses that are convex in the mixture, which those of a deep "
        "network are not: that it is kept says that the experts' weights were updated as the theory has it, not that "
        "the network is good."
    )
    if any(promise.clip_rate for promise in regret_checks):
        yield "Of the rewards that were clipped the regret counts only what was left of them."
    if any(promise.several_at_once for promise in regret_checks):
        yield (
            "Theorem 1 updates the weights after every feedback. Here F feedbacks, measured at the same weights, "
            "make one update, and what holds for that is larger: η L² times half the sum of F² over the updates "
            "takes the place of η L² t / 2. Theorem 1's own bound is given to compare with."
        )
    zetas = {name: history.groups[name].zeta for name in last}
    if 1 in zetas.values():
        after = ", as long as no larger reward came after a wipeout" if scaled else ""
        yield f"With ζ = 1 the best expert in hindsight is among those alive (lemma 1{after})."
    if relaxed := [name for name, zeta in zetas.items() if zeta is not None and zeta < 1]:
        yield (
            f"With ζ < 1 ({', '.join(relaxed)}) the regret is against the survivors only, and lemma 1 does not hold: "
            "the best expert in hindsight may have been wiped out."
        )


def _warnings(history: History) -> str:
    """What there was to be worried about, each kind of it at the first epoch that gave cause to."""
    said: dict[str, str] = {}
    for row in history.search:
        for kind, line in concerns(history.groups, row).items():
            said.setdefault(kind, f"Epoch {row.epoch}: {line}.")
    return "".join(f'<p class="note">{escape(line)}</p>\n' for line in said.values())


def _numbers(history: History) -> str:
    """What is drawn, in words, and every group at its last epoch on record, and the supernet."""
    lines, said = [], []
    for name in heard_groups(history):
        weights = _last_weights(history, name)
        state = health_of(history.groups[name], weights)
        if state is None:
            continue
        shares = (state.skip, state.pooling, state.decided, state.lead)
        lines.append(
            (name, f"{state.entropy:.2f}", *("" if share is None else f"{share:.0%}" for share in shares))
        )
        group = history.groups[name]
        if words := scale_words(history.groups[name], weights):
            said.append(f"In group {name}, L = {group.reward_bound:g} {words}.")
    counted = [row.multiply_adds for row in history.search if row.multiply_adds is not None]
    if counted:
        said.append(
            f"Of the supernet's multiply-adds for one image, {count_text(counted[0])} when first counted, "
            f"{count_text(counted[-1])} are left at the end of what is on record."
        )
    head = ("group", "entropy", "led by<br>a skip", "led by<br>a pooling", "decided", "lead")
    shown = [column for column in range(len(head)) if any(line[column] for line in lines)]
    cells = [("", tuple(escape(line[column]) for column in shown)) for line in lines]
    legend = "" if not lines else _LEGEND + (_LEGEND_OF_LEADS if len(shown) == len(head) else "")
    return (
        (table([head[column] for column in shown], cells) if lines else "")
        + "".join(f"<p>{escape(line)}</p>\n" for line in said)
        + (f'<p class="lesser">{escape(legend)}</p>\n' if legend else "")
    )


def _last_weights(history: History, name: str) -> GroupWeights:
    return next(row.groups[name] for row in reversed(history.search) if name in row.groups)
