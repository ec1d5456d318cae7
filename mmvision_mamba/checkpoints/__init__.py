"""Checkpoints: read safely, fetched, published, resumed."""

from .reading import check_whole, read_checkpoint, trust_checkpoints, trusting

__all__ = ['check_whole', 'read_checkpoint', 'trust_checkpoints', 'trusting']
