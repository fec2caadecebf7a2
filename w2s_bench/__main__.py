"""The console script `w2s`, and `python -m w2s_bench`."""

import sys


def main() -> None:
    """Exits with the status of the verb that the command line names."""
    from w2s_bench.cli.main import cli

    if sys.argv[1:2] == ["-sc"]:  # Hydra's completion calls the program without the verb
        from w2s_bench.compose.hydra_cli import complete
        from w2s_bench.store.escape import guarded_output

        with guarded_output():
            complete(sys.argv[1:])
    cli.main()


if __name__ == "__main__":
    main()
