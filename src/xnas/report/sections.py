"""What a run's page holds, section by section, as plain values for its template."""

# ruff: noqa: RUF001

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from xnas.optimizers.group_info import GroupInfo
from xnas.report.figures.health import heard_groups, regret_checks
from xnas.report.figures.run import drawn_edges
from xnas.report.format import duration
from xnas.report.health import concerns, health_of, scale_words
from xnas.report.html import Row, Table, Tile
from xnas.report.regret import RegretCheck
from xnas.report.results_table import ResultRow, accuracy_text, count_text, interval_text, rows_of, verdict
from xnas.runs.folder import RunRecord
from xnas.runs.history import History
from xnas.space.architecture import architecture_text
from xnas.space.nasbench201.genotype import Nasbench201Genotype

_WIPEOUTS_SHOWN = 8
_GROUPS_NAMED = 8


def run_values(run: RunRecord) -> dict[str, Any]:
    """Return everything that run.html shows of a run, but its pictures."""
    rows = rows_of(run.result, run.controls)
    devices = [run.environment.get(key) for key in ("device_name", "device")]
    history = run.history
    return {
        "name": run.name,
        "device": next((name for name in devices if name and isinstance(name, str)), None),
        "tiles": _tiles(run, rows),
        "missing": _missing(run),
        "verdict": verdict(rows) if rows else "",
        "of_nasbench201": isinstance(run.genotype, Nasbench201Genotype),
        "results": _results(rows),
        "undrawn": _undrawn(history),
        "experts": sum(len(group.edges) * len(group.experts) for group in history.groups.values()),
        "wiped": len(history.wipeouts),
        "wipeouts": _wipeouts(history),
        "regret": _regret(history),
        "warnings": _warnings(history),
        **_health(history),
        "groups": _groups(history.groups),
        "scaled": any(group.scaled for group in history.groups.values()),
        "commands": _commands(run),
        "files": _files(run),
    }


def _tiles(run: RunRecord, rows: Sequence[ResultRow]) -> list[Tile]:
    """Accuracy, cost, data, seed, time."""
    found = next((row for row in rows if row.kind == "found"), None)
    source = run.setting("data", "source")
    seed = run.setting(None, "seed")
    if seed is None and run.result:
        seed = run.result.seed
    tiles = []
    if found and run.result:
        kind = "held-out" if holds_out(run) else "test"
        sure = f"95 % interval {interval_text(found)}, n = {run.result.test_samples:,} {kind} images, one training"
        tiles = [
            Tile(f"{kind.capitalize()} accuracy", accuracy_text(found), sure, first=True),
            Tile("Parameters", count_text(found.parameters), f"{run.result.parameters:,}"),
            Tile("Multiply-adds", count_text(found.multiply_adds), "for one image"),
        ]
    if source is not None:
        tiles.append(Tile("Data set", str(source)))
    if seed is not None:
        tiles.append(Tile("Seed", str(seed)))
    if run.seconds:
        names = {"retrain": "training"}
        detail = ", ".join(
            f"{names.get(phase, phase)} {duration(seconds)}" for phase, seconds in run.seconds.items()
        )
        tiles.append(Tile("Time", duration(sum(run.seconds.values())), detail))
    return tiles


def _missing(run: RunRecord) -> list[str]:
    """What an unfinished run lacks, in sentences."""
    notes = []
    for what, section, rows in (
        ("search", "search", [row.epoch for row in run.history.search]),
        ("training from scratch", "retrain", [row.epoch for row in run.history.retrain]),
    ):
        planned = run.setting(section, "epochs")
        if rows and isinstance(planned, int) and rows[-1] < planned:
            tail = _standing_of_cells(run.history) if section == "search" and run.genotype else ""
            reached = f"{rows[-1]} of {planned} epochs are on record{tail}"
            notes.append(f"The {what} has not ended: {reached}. xnas resume continues it.")
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


def _standing_of_cells(history: History) -> str:
    if any(weights.feedbacks for row in history.search for weights in row.groups.values()):
        return "; the cells below are its choice as it stood then"
    return "; by then no expert had been rewarded, so the cells below may mean nothing"


def _results(rows: Sequence[ResultRow]) -> Table:
    kinds = {"random mean": "mean"}
    return Table(
        ("network", "test accuracy", "95 % interval", "parameters", "multiply-adds", ""),
        [
            Row(
                (
                    row.name,
                    accuracy_text(row),
                    interval_text(row),
                    count_text(row.parameters),
                    count_text(row.multiply_adds),
                    row.notes,
                ),
                kinds.get(row.kind, row.kind),
            )
            for row in rows
        ],
        left=(5,),
    )


def _undrawn(history: History) -> str:
    """The groups whose curves would be too many."""
    names = [name for name, edges in drawn_edges(history).items() if not edges]
    return ", ".join(names[:_GROUPS_NAMED]) + (", ..." if len(names) > _GROUPS_NAMED else "")


def _wipeouts(history: History) -> Table:
    rows = []
    for wipeout in history.wipeouts[:_WIPEOUTS_SHOWN]:
        group = history.groups[wipeout.group]
        feedbacks = f"{wipeout.feedbacks:,} of {group.horizon:,}"
        place = (wipeout.group, group.edges[wipeout.edge], wipeout.expert)
        rows.append(Row((*place, str(wipeout.epoch), f"{wipeout.step:,}", feedbacks)))
    return Table(("group", "edge", "expert", "epoch", "step", "feedbacks t of T"), rows, left=(1, 2))


def _groups(groups: Mapping[str, GroupInfo]) -> Table:
    """What the search of each group was fixed by."""
    head = (
        "group", "method", "edges", "experts\nN", "replicas\nr", "one feedback\nis from one", "horizon T\n(feedbacks)",
        "step size\nη", "reward\nbound L", "wipeout\nζ",
    )  # fmt: skip
    rows = [
        Row(
            (
                group.name,
                group.method,
                str(len(group.edges)),
                str(len(group.experts)),
                str(group.replicas),
                group.feedback,
                f"{group.horizon:,}",
                f"{group.step_size:.3g}",
                _bound_text(group),
                "no wipeout" if group.zeta is None else f"{group.zeta:g}",
            )
        )
        for group in groups.values()
    ]
    return Table(head, rows, left=(1,))


def _bound_text(group: GroupInfo) -> str:
    if group.reward_bound is None:
        return "not clipped"
    return "none" if group.scaled else f"{group.reward_bound:g}"


def _regret(history: History) -> dict[str, Any] | None:
    """Regret and its bounds at the end of what is on record; None without a ledger."""
    last = {name: points[-1] for name, points in regret_checks(history).items()}
    if not last:
        return None
    checks = {name: check for name, (_, check) in last.items()}
    zetas = {name: history.groups[name].zeta for name in checks}
    head = (
        "group", "regret,\nmean", "regret,\nworst", "its\nbound", "without\nwipeout", "theorem\n1's", "gap",
        "forecasters\nwithin bound", "wipeout\nfactor γ", "rewards\nclipped", "mean\n|R|",
    )  # fmt: skip
    return {
        "epoch": max(epoch for epoch, _ in last.values()),
        "kept": sum(check.kept for check in checks.values()),
        "forecasters": sum(check.forecasters for check in checks.values()),
        "table": Table(head, [_regret_row(name, check) for name, check in checks.items()]),
        "scaled": any(check.scaled for check in checks.values()),
        "clipped": any(check.clip_rate for check in checks.values()),
        "several_at_once": any(check.several_at_once for check in checks.values()),
        "strict": 1 in zetas.values(),
        "relaxed": [name for name, zeta in zetas.items() if zeta is not None and zeta < 1],
    }


def _regret_row(name: str, check: RegretCheck) -> Row:
    bounds = (
        check.mean_regret,
        check.regret,
        check.bound,
        check.bound_without_wipeout,
        check.theorem,
        check.gap,
    )
    return Row(
        (
            name,
            *(f"{value:.3g}" for value in bounds),
            f"{check.kept} of {check.forecasters}",
            f"{check.gamma:.3g}",
            f"{check.clip_rate:.1%}",
            f"{check.reward_size:.2g}",
        )
    )


def _warnings(history: History) -> list[str]:
    """What there was to be worried about, each kind of it at the first epoch that gave cause to."""
    said: dict[str, str] = {}
    for row in history.search:
        for kind, line in concerns(history.groups, row).items():
            said.setdefault(kind, f"Epoch {row.epoch}: {line}.")
    return list(said.values())


def _health(history: History) -> dict[str, Any]:
    """Every group at its last epoch on record, what its L is worth, and what the supernet still computes."""
    lines, scales = [], []
    for name in heard_groups(history):
        group = history.groups[name]
        weights = next(row.groups[name] for row in reversed(history.search) if name in row.groups)
        state = health_of(group, weights)
        if state is None:
            continue
        shares = (state.skip, state.pooling, state.decided, state.lead)
        lines.append(
            (name, f"{state.entropy:.2f}", *("" if share is None else f"{share:.0%}" for share in shares))
        )
        if words := scale_words(group, weights):
            scales.append(f"In group {name}, L = {group.reward_bound:g} {words}.")
    head = ("group", "entropy", "led by\na skip", "led by\na pooling", "decided", "lead")
    shown = [column for column in range(len(head)) if any(line[column] for line in lines)]
    counted = [row.multiply_adds for row in history.search if row.multiply_adds is not None]
    return {
        "health": Table(
            [head[column] for column in shown], [Row([line[column] for column in shown]) for line in lines]
        ),
        "scales": scales,
        "multiply_adds": [count_text(number) for number in (counted[0], counted[-1])] if counted else [],
    }


def _commands(run: RunRecord) -> str:
    """How to do it again."""
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


def _files(run: RunRecord) -> list[dict[str, Any]]:
    """The files that say how it was done."""
    genotype = run.genotype
    texts = (
        ("Settings (config.toml)", run.config_text, False),
        ("Architecture (genotype.json)", genotype and genotype.to_json(), False),
        ("Architecture as text", genotype and architecture_text(genotype), True),
        ("Environment (environment.json)", run.environment_text, True),
    )
    return [{"title": title, "text": text, "wrap": wrap} for title, text, wrap in texts if text is not None]
