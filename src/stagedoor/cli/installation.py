"""Which installation a command speaks to."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stagedoor.settings.file import default_settings_file, load_settings
from stagedoor.settings.settings import Settings


@dataclass
class Installation:
    """`settings_file` is None for the default place. The `obj` of every command's context."""

    settings_file: Path | None

    @property
    def file(self) -> Path:
        """The settings file, which need not be there."""
        return self.settings_file or default_settings_file()

    @cached_property
    def settings(self) -> Settings:
        """Read at the first use, so that `--help` needs no readable file. Raises SettingsError."""
        return load_settings(self.settings_file)
