"""argparse as this program uses it; loads nothing of Beam."""

import argparse
from typing import NoReturn

from pipeline.errors import UsageError


class OptionParser(argparse.ArgumentParser):
    """Reports a wrong option as UsageError, not by printing its whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def actions_by_name(self) -> dict[str, argparse.Action]:
        """Returns the actions of all options by each of their names, which argparse itself does not offer."""
        return self._option_string_actions
