"""xnas run: search, retrain, test and report."""

from collections.abc import Sequence
from dataclasses import dataclass

from xnas.cli.arguments import NewRun, fields_of, parse, settings_of, start_from


@dataclass(frozen=True, kw_only=True)
class Arguments(NewRun):
    """The whole job."""

    controls: int = 0
    """Random architectures to retrain with the same settings, for comparison; the published XNAS cell joins them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.controls < 0:
            raise ValueError(f"controls must not be negative; got {self.controls}")


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    description = (
        "Search an architecture, train its network from scratch, test it once, and write the report."
    )
    arguments = parse(Arguments, argv, verb="run", description=description, start=fields_of(start_from(argv)))
    # Imported once the arguments are known to be right: help and mistakes do not wait for torch.
    from xnas.cli.session import Session
    from xnas.engine.controls import control_genotypes
    from xnas.engine.retrain import check_fit, retrain
    from xnas.engine.runtime import environment
    from xnas.engine.search import Search, search
    from xnas.report.table import format_table, result_table

    session = Session.open(settings_of(arguments))
    config, data, device, display = session.config, session.data, session.device, session.display
    check_fit(config, data)
    course = Search(config, data, device=device)
    folder = session.new_folder(arguments)
    with session.recording(folder) as interrupt:
        genotype = search(course, folder=folder, progress=display, interrupt=interrupt)
        del course  # retraining needs the memory
        retrain(
            genotype,
            config,
            data,
            name="found",
            device=device,
            folder=folder,
            progress=display,
            interrupt=interrupt,
        )
        for name, control in control_genotypes(config, count=arguments.controls).items():
            display.say(f"control: {name}")
            place = folder.child("controls", name)
            place.describe(config, environment(device))
            place.write_genotype(control)
            retrain(
                control,
                config,
                data,
                name=name,
                device=device,
                folder=place,
                progress=display,
                interrupt=interrupt,
            )
    display.say(format_table(result_table(folder.path)))
    return 0
