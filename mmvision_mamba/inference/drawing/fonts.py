"""Text drawn in whatever script it is written in, with the fonts that a machine has.

The default is DejaVu Sans, which matplotlib brings: Latin with its accents, Greek, Cyrillic, Arabic
and more. What it lacks is looked for in the installed fonts. Arabic and Hebrew are drawn from right
to left and joined where Pillow has raqm (its wheels do; on Linux it loads libfribidi). Not covered:
regional forms of Chinese characters (the font's first are taken), and emoji in colour.
"""

import unicodedata
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

RGB = tuple[int, int, int]

# Later in the search: what is harder to read small, by words of the file's name.
_LESS_LEGIBLE = ('bold', 'italic', 'oblique', 'light', 'thin', 'black', 'mono', 'serif', 'narrow')
# Fonts that show a box or a code for every character.
_PLACEHOLDERS = ('lastresort', 'adobeblank', 'unifont')
_CJK = ('CJK', 'HIRAGANA', 'KATAKANA', 'HANGUL', 'BOPOMOFO', 'IDEOGRAPHIC')
_OMITTED = '…'


@lru_cache(maxsize=32)
def drawable_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Class names as they can be drawn here.

    A name with characters that no installed font has becomes ``class <index>``, and a warning names
    the characters and what to install. Line breaks and the like become spaces.
    """
    names, lacking = [], set()
    for index, name in enumerate(class_names):
        name = _on_one_line(name)
        lacks = _lacking(name)
        lacking |= lacks
        names.append(f'class {index}' if lacks or not name else name)
    if lacking:
        where = 'the class names, which are drawn as "class <index>"'
        warnings.warn(_advice(lacking, where), stacklevel=2)
    return tuple(names)


def drawable(text: str) -> str:
    """A text of a caption as it can be drawn here: what no font has, warned of, becomes ``?``."""
    lacking = _lacking(text)
    if lacking:
        warnings.warn(_advice(lacking, 'a caption, which has "?" in their place'), stacklevel=2)
    return ''.join('?' if character in lacking else character for character in text)


@lru_cache(maxsize=256)
def render(text: str, size: int, ink: RGB, paper: RGB, width: int | None = None) -> np.ndarray:
    """Draw a line of text.

    Args:
        text: The line.
        size: Of the font, in pixels.
        ink: RGB of the text.
        paper: RGB of what is behind it.
        width: What it may take at most, in pixels; longer text is shortened, ending in ``…``.

    Returns:
        (height, width, 3) uint8 RGB, read-only: the text with a margin, higher in some scripts.
    """
    margin = max(1, size // 5)
    text = _on_one_line(text)
    if width is not None:
        text = _shortened(text, size, width - 2 * margin)
    parts = [(part, _font(path, size)) for part, path in _runs(text)]
    boxes = [font.getbbox(part, anchor='ls') for part, font in parts]
    # As high as Latin text at least, so that labels beside each other are alike.
    boxes_and_least = [*boxes, _font(_default(), size).getbbox('Äg', anchor='ls')]
    top, bottom = min(box[1] for box in boxes_and_least), max(box[3] for box in boxes_and_least)
    lengths = [max(font.getlength(part), box[2]) for (part, font), box in zip(parts, boxes)]
    shape = (int(sum(lengths)) + 1 + 2 * margin, int(bottom - top) + 2 * margin)
    image = Image.new('RGB', shape, paper)
    draw, x = ImageDraw.Draw(image), float(margin)
    for (part, font), length in zip(parts, lengths):
        draw.text((x, margin - top), part, fill=ink, font=font, anchor='ls')
        x += length
    return np.asarray(image)


def _shortened(text: str, size: int, width: int) -> str:
    if _length(text, size) <= width:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _length(text[:middle] + _OMITTED, size) <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + _OMITTED


def _length(text: str, size: int) -> float:
    return sum(_font(path, size).getlength(part) for part, path in _runs(text))


@lru_cache(maxsize=4096)
def _runs(text: str) -> tuple[tuple[str, str], ...]:
    """A text as parts, each with the font file that draws it; few, as each is shaped alone."""
    whole = _file_with(frozenset(filter(_is_visible, text)))
    if whole is not None:
        return ((text, whole),)
    parts: list[tuple[str, str]] = []
    for character in text:
        path = parts[-1][1] if parts else _default()
        if _is_visible(character) and ord(character) not in _characters(path):
            path = _file_with(frozenset(character)) or _default()
        if parts and parts[-1][1] == path:
            parts[-1] = (parts[-1][0] + character, path)
        else:
            parts.append((character, path))
    return tuple(parts)


def _lacking(text: str) -> set[str]:
    """Characters of a text that cannot be drawn."""
    visible = frozenset(filter(_is_visible, text))
    if _right_to_left(visible) and not features.check('raqm'):
        return {character for character in visible if _right_to_left(character)}
    if _file_with(visible) is not None:
        return set()
    return {character for character in visible if _file_with(frozenset(character)) is None}


def _advice(lacking: set[str], where: str) -> str:
    listed = ' '.join(sorted(lacking)[:20]) + (' …' if len(lacking) > 20 else '')
    if _right_to_left(lacking) and not features.check('raqm'):
        mend = 'install libfribidi (Debian: libfribidi0), which Pillow writes from the right with'
    else:
        packages = {_debian_package(character) for character in lacking}
        mend = f'install a font that has them (Debian: {" ".join(sorted(packages))})'
    return f'no installed font draws {listed} of {where}: {mend}'


def _debian_package(character: str) -> str:
    if unicodedata.name(character, '').startswith(_CJK):
        return 'fonts-noto-cjk'
    return 'fonts-symbola' if unicodedata.category(character) == 'So' else 'fonts-noto-core'


def _right_to_left(text) -> bool:
    return any(unicodedata.bidirectional(character) in ('R', 'AL') for character in text)


def _on_one_line(text: str) -> str:
    return ' '.join(
        ''.join(' ' if unicodedata.category(c) in ('Cc', 'Cs') else c for c in text).split()
    )


def _is_visible(character: str) -> bool:
    """Whether a font must have it: joiners, marks of direction and variants are not drawn."""
    is_variant = 'VARIATION SELECTOR' in unicodedata.name(character, '')
    return not (character.isspace() or unicodedata.category(character) == 'Cf' or is_variant)


@lru_cache(maxsize=64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=1)
def _default() -> str:
    from matplotlib import get_data_path

    return str(Path(get_data_path(), 'fonts/ttf/DejaVuSans.ttf'))


@lru_cache(maxsize=4096)
def _file_with(characters: frozenset[str]) -> str | None:
    """The first font file that has all of the characters, the default before others."""
    codes = set(map(ord, characters))
    return next((path for path in _files() if codes <= _characters(path)), None)


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    """Font files, the default first, then the most legible."""
    from matplotlib.font_manager import findSystemFonts

    def legibility(path: str) -> tuple:
        name = Path(path).stem.lower()
        return sum(word in name for word in _LESS_LEGIBLE), 'sans' not in name, name

    names = [path for path in findSystemFonts() if not _is_placeholder(path)]
    return (_default(), *sorted(names, key=legibility))


def _is_placeholder(path: str) -> bool:
    name = Path(path).stem.lower().replace('-', '').replace(' ', '')
    return any(word in name for word in _PLACEHOLDERS)


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[int]:
    """Code points that a font file has glyphs for; none where it cannot be read or scaled."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # FreeType's errors; another font may do
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
