"""The command line, run in this process."""

import sys

from sparring import cli


def sparring(*arguments, capsys):
    """Exit code, standard output and standard error of a command run in this process."""
    before = sys.argv
    sys.argv = ["sparring", *map(str, arguments)]
    try:
        cli.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
    finally:
        sys.argv = before
    shown = capsys.readouterr()
    return code, shown.out, " ".join(shown.err.split())
