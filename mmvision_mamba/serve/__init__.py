"""The web page of tools/serve.py: models behind it, what visitors send, and what they are shown.

Gradio is imported by :mod:`.page` and :mod:`.server` alone, and by those only when the page is run.
"""
