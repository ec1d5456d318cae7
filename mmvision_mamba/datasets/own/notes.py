"""What is said about a data set, in sentences of one line."""

from collections.abc import Sequence
from pathlib import Path

from ..checking.problems import shown


class Notes(list[str]):
    """Sentences, in the order in which they were found."""

    def say(self, sentence: str) -> None:
        if sentence not in self:
            self.append(sentence)

    def count(self, things: Sequence, singular: str, plural: str, rest: str) -> None:
        """Say how many of something there are and name the first; nothing where there are none."""
        if things:
            one = len(things) == 1
            what = f'1 {singular}' if one else f'{len(things):,} {plural}'
            first = things[0]
            name = shown(str(first) if isinstance(first, str | Path) else str(first.path), 80)
            self.say(f'{what} {rest} ({name}{"" if one else ", ..."})')
