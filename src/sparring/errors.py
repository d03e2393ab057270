"""Everything that can go wrong in a way the user can mend.

Each message says what happened, where (file and row, or setting), with which value, and the way out.
The command line prints the message alone and exits with code 2; a traceback means a defect of ours.
"""

import zipfile
import zlib

UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What reading a damaged, truncated or encrypted file or archive raises."""


class SparringError(Exception):
    """Base of all errors a user can mend."""


class DataError(SparringError):
    """A data file or a row of it cannot be used."""


class SettingError(SparringError):
    """A setting is unknown, out of range, or does not go with the others."""


class ModelError(SparringError):
    """A model cannot be loaded, or not be trained in this way."""


class RunError(SparringError):
    """A run folder cannot be written, resumed or read."""


class Interrupted(RunError):
    """Ctrl-C: what was going on has stopped where the same command goes on."""


class SparringWarning(UserWarning):
    """Something works but probably does not do what was meant."""
