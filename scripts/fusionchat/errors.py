"""The one exception for mistakes that the person at the keyboard can mend."""


class UserError(Exception):
    """A wrong config, data file or checkpoint: the message names the file and key and what to do.

    Programs print it as one line and exit with code 1, without a traceback.
    """
