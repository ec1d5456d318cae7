"""What ends a prediction, or a check, with a sentence."""


class InputError(Exception):
    """What was given cannot be used; the message says why in a sentence."""


class Deviation(Exception):
    """The model does not give what it gave when it was made; the message names the first map."""
