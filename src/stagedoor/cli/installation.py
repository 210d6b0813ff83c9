"""The installation that a command works on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stagedoor.model.errors import SettingsError

if TYPE_CHECKING:
    from stagedoor.client.contexts import Context
    from stagedoor.settings.settings import Settings


@dataclass
class Installation:
    """An installation, given by its settings file. It is the `obj` of every command's context.

    `settings_file` is None for the default file.
    """

    settings_file: Path | None

    @property
    def file(self) -> Path:
        """The path of the settings file, which need not exist."""
        from stagedoor.settings.file import find_settings_file

        return self.settings_file or find_settings_file()

    @cached_property
    def context(self) -> "Context | None":
        """The gateway that commands administer over its API, None for the store on this machine.

        A settings file that is named is of this machine. Raises SettingsError, NotFoundError.
        """
        if self.settings_file is not None:
            return None
        from stagedoor.client.contexts import find_context

        return find_context()

    def keep_local(self) -> None:
        """Use this machine's settings whatever context is in use: a gateway serves with no other."""
        self.__dict__["context"] = None

    @cached_property
    def settings(self) -> "Settings":
        """The settings, read at the first use. Raises SettingsError, also if a context is in use.

        So `--help` needs no readable file, and `attach` no settings at all.
        """
        from stagedoor.settings.file import load_settings

        if self.context is not None:
            raise SettingsError(
                f"this command works on a gateway's own machine, and the context {self.context.name} is in "
                "use; to use this machine's store: stagedoor context use local"
            )

        return load_settings(self.settings_file)
