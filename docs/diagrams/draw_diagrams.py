"""Draw the diagrams of the architecture page: ``python docs/diagrams/draw_diagrams.py``.

From the code, so that they are of what is built; a test says if one is not current.
"""

from pathlib import Path

from backbone_diagrams import mambaout, mambavision
from data_way import data_way

FOLDER = Path(__file__).parents[1] / 'images'
DRAWINGS = {'mambavision': mambavision, 'mambaout': mambaout, 'data_way': data_way}


def main() -> None:
    for name, draw in DRAWINGS.items():
        (FOLDER / f'{name}.svg').write_text(draw())


if __name__ == '__main__':
    main()
