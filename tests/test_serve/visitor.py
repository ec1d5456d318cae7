"""Somebody before the page, in Chromium."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from browser import Window, needs_browser
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

__all__ = ['Visitor', 'needs_browser']


class Visitor(Window):
    """Somebody before a window of the browser."""

    def __init__(self, url: str, downloads: Path) -> None:
        super().__init__(downloads)
        self.url = url

    def open(self) -> None:
        """Open the page anew."""
        self.browser.get(self.url)
        self.wait(lambda: self.find('#status p').is_displayed(), 'the page')

    @property
    def status(self) -> str:
        return self.find('#status p').text

    def upload(self, path: Path) -> None:
        for button in self.all('#image button[aria-label="Remove Image"]'):
            button.click()
            self.wait_for_status('Drop an image')
        chooser = self.wait(lambda: self.find('#image input[type=file]'), 'the chooser of files')
        chooser.send_keys(str(path))

    def choose_model(self, name: str) -> None:
        self.find('#model input').click()
        self.click(f'[role=option][aria-label="{name}"]')

    def slide(self, name: str, value: str) -> None:
        number = self.find(f'#{name} input[type=number]')
        number.send_keys(Keys.CONTROL, 'a')
        number.send_keys(value, Keys.TAB)

    def toggle(self, name: str) -> None:
        self.find(f'#{name} input[type=checkbox]').click()

    def drawn(self) -> np.ndarray:
        """What is shown of the result, as the server sent it."""
        encoded = self.browser.execute_async_script(
            'const done = arguments[1];'
            'fetch(arguments[0]).then(answer => answer.arrayBuffer())'
            '.then(buffer => done(Array.from(new Uint8Array(buffer))))',
            self.wait(lambda: self.find('#drawn img').get_attribute('src'), 'the drawn image'),
        )
        return cv2.imdecode(np.array(encoded, np.uint8), cv2.IMREAD_COLOR)

    def drawn_after(self, change: Callable[..., None], *arguments) -> np.ndarray:
        """The drawn image, once a change has made it another one."""
        before = self.find('#drawn img').get_attribute('src')
        change(*arguments)
        self.wait(lambda: self.find('#drawn img').get_attribute('src') != before, 'another drawing')
        return self.drawn()

    def rows(self) -> list[list[str]]:
        """The texts of the table."""
        rows = self.all('#table .virtual-row')
        cells = [row.find_elements(By.CSS_SELECTOR, '[role=gridcell]') for row in rows]
        return [[cell.text.strip() for cell in row] for row in cells]

    def middle_score(self) -> str:
        """One that some of the listed detections have, and others have not."""
        scores = [float(row[1]) for row in self.rows()]
        return f'{(scores[0] + scores[-1]) / 2:.2f}'
