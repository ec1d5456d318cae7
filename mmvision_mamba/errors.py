class InputError(Exception):
    """What the user gave cannot be used; the message names it and says what would do.

    The command lines print the message alone, without a traceback.
    """
