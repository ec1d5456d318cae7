from .mambaout import MambaOut
from .mambavision import MambaVision

__all__ = ['MambaOut', 'MambaVision']
