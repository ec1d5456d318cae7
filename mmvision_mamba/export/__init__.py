"""Trained models as files that run without this package, and the proof that they answer alike."""
