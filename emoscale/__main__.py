"""The process of the command line, as launchers (`python -m emoscale`) and the installed command start it."""

from emoscale.system.preemption import ending_at_once


def main() -> None:
    """Load the command line and run it; see `emoscale.cli.main`."""
    with ending_at_once():  # loading takes a second
        from emoscale.cli import main as run
    run()


if __name__ == "__main__":
    main()
