"""argparse with UsageError for wrong options. Does not import Beam."""

import argparse
from typing import NoReturn

from pipeline.errors import UsageError


class OptionParser(argparse.ArgumentParser):
    """Raises UsageError for a wrong option instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def actions_by_name(self) -> dict[str, argparse.Action]:
        """Returns the actions by all their option names, which argparse has no public interface for."""
        return self._option_string_actions
