"""Own data: a folder of images and labels, in the layout that some tool wrote, read as it is.

Nothing is written into the folder, and no image is copied. What its files say is data: nothing in
them is run, and no path in them leads out of the folder.
"""

from .data import OwnData, own_data

__all__ = ['OwnData', 'own_data']
