"""What ends a prediction, or a check, with a sentence."""


class InputError(Exception):
    """What the user gave cannot be used; the message names it and says what would do.

    The command lines print the message alone, without a traceback.
    """


class Deviation(Exception):
    """The model does not give what it gave when it was made; the message names the first map."""
