"""xnas search: search an architecture."""

from collections.abc import Sequence

from xnas.cli.arguments import NewRun, fields_of, parse, settings_of, start_from


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    description = "Search an architecture; `xnas retrain RUN` goes on from its folder."
    arguments = parse(NewRun, argv, verb="search", description=description, start=fields_of(start_from(argv)))
    from xnas.cli.session import Session
    from xnas.engine.search import Search, search
    from xnas.space.genotype_text import to_darts_text

    session = Session.open(settings_of(arguments))
    course = Search(session.config, session.data, device=session.device)
    folder = session.new_folder(arguments)
    with session.recording(folder) as interrupt:
        genotype = search(course, folder=folder, progress=session.display, interrupt=interrupt)
    session.display.say(to_darts_text(genotype))
    session.display.say(f"train its network with: xnas retrain {folder.path}")
    return 0
