"""The parts of the report about the search itself: whether theorem 1's promise was kept, and how healthy it was."""

# ruff: noqa: RUF001

from collections.abc import Iterator, Mapping

from xnas.report.health import concerns, health_of, scale_words
from xnas.report.health_curves import heard_groups, promises
from xnas.report.markup import escape, figure, pairs, section, table
from xnas.report.promise import Promise
from xnas.report.table import count_text
from xnas.runs.folder import RunRecord
from xnas.runs.history import Course, GroupWeights


def promise(run: RunRecord, regret: list[str], factors: list[str]) -> str:
    """Regret and its bound over time, wipeout factors and clipped rewards, and a table of the end."""
    told = promises(run.course)
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
    notes = "".join(f'<p class="lesser">{escape(note)}</p>\n' for note in _cautions(run.course, last))
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
        _warnings(run.course)
        + "".join(figure(picture, scroll=True) for picture in pictures)
        + _numbers(run.course),
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


def _promise_line(name: str, promise: Promise) -> tuple[str, ...]:
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


def _cautions(course: Course, last: Mapping[str, tuple[int, Promise]]) -> Iterator[str]:
    """What the bound is about and what not, in sentences."""
    promises = [promise for _, promise in last.values()]
    scaled = any(promise.scaled for promise in promises)
    unit = "units of √V" if scaled else "nats"
    bound = _BOUND_OF_SCALED if scaled else _BOUND_OF_CLIPPED
    yield (
        "Regret is what the best expert still alive would have earned beyond the mixture: the sum of its rewards "
        f"so far less that of the mixture's, in {unit}. Worst is the forecaster nearest to its bound, and the "
        f"columns up to the gap are about it. {bound} losses that are convex in the mixture, which those of a deep "
        "network are not: that it is kept says that the experts' weights were updated as the theory has it, not that "
        "the network is good."
    )
    if any(promise.clip_rate for promise in promises):
        yield "Of the rewards that were clipped the regret counts only what was left of them."
    if any(promise.several_at_once for promise in promises):
        yield (
            "Theorem 1 updates the weights after every feedback. Here F feedbacks, measured at the same weights, "
            "make one update, and what holds for that is larger: η L² times half the sum of F² over the updates "
            "takes the place of η L² t / 2. Theorem 1's own bound is given to compare with."
        )
    zetas = {name: course.groups[name].zeta for name in last}
    if 1 in zetas.values():
        after = ", as long as no larger reward came after a wipeout" if scaled else ""
        yield f"With ζ = 1 the best expert in hindsight is among those alive (lemma 1{after})."
    if relaxed := [name for name, zeta in zetas.items() if zeta is not None and zeta < 1]:
        yield (
            f"With ζ < 1 ({', '.join(relaxed)}) the regret is against the survivors only, and lemma 1 does not hold: "
            "the best expert in hindsight may have been wiped out."
        )


def _warnings(course: Course) -> str:
    """What there was to be worried about, each kind of it at the first epoch that gave cause to."""
    said: dict[str, str] = {}
    for row in course.search:
        for kind, line in concerns(course.groups, row).items():
            said.setdefault(kind, f"Epoch {row.epoch}: {line}.")
    return "".join(f'<p class="note">{escape(line)}</p>\n' for line in said.values())


def _numbers(course: Course) -> str:
    """What is drawn, in words, and every group at its last epoch on record, and the supernet."""
    lines, said = [], []
    for name in heard_groups(course):
        weights = _last_weights(course, name)
        state = health_of(course.groups[name], weights)
        if state is None:
            continue
        shares = (state.skip, state.pooling, state.decided, state.lead)
        lines.append(
            (name, f"{state.entropy:.2f}", *("" if share is None else f"{share:.0%}" for share in shares))
        )
        group = course.groups[name]
        if words := scale_words(course.groups[name], weights):
            said.append(f"In group {name}, L = {group.reward_bound:g} {words}.")
    counted = [row.multiply_adds for row in course.search if row.multiply_adds is not None]
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


def _last_weights(course: Course, name: str) -> GroupWeights:
    return next(row.groups[name] for row in reversed(course.search) if name in row.groups)
