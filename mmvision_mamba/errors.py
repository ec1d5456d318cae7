"""The error that the user can mend; the standalone program's, which cannot import this package."""

from .standalone.errors import InputError

__all__ = ['InputError']
