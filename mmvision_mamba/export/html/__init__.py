"""An exported model as one file that a browser opens: ``site`` is the page, which Python fills."""
