"""Somebody before the page, in Chromium; what the tests of it share."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

webdriver = pytest.importorskip('selenium.webdriver', reason='Selenium is not installed')
from selenium.common.exceptions import (  # noqa: E402
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
DRIVER = shutil.which('chromedriver')
SCREENSHOTS = Path(__file__).parents[2] / 'build' / 'screenshots'

needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason='no browser: the page is tested in Chromium (apt-get install chromium chromium-driver)',
)


class Visitor:
    """Somebody before a window of the browser."""

    def __init__(self, url: str, downloads: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in (
            '--headless=new',
            '--no-sandbox',  # root has none
            '--disable-dev-shm-usage',
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',  # as without a network
            '--use-fake-device-for-media-stream',
            '--use-fake-ui-for-media-stream',
        ):
            options.add_argument(argument)
        options.add_experimental_option('prefs', {'download.default_directory': str(downloads)})
        options.set_capability('goog:loggingPrefs', dict(performance='ALL', browser='ALL'))
        self.browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        self.url = url
        self.downloads = downloads
        self.resize(1400, 1250)

    def resize(self, width: int, height: int) -> None:
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)

    def open(self) -> None:
        """Open the page anew."""
        self.browser.get(self.url)
        self.wait(lambda: self.find('#status p').is_displayed(), 'the page')

    def find(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 30):
        """What ``condition`` returns, once that is something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                found = condition()
            except (NoSuchElementException, StaleElementReferenceException):
                found = None
            if found:
                return found
            time.sleep(0.05)
        self.screenshot('failed')
        raise AssertionError(f'{what} did not come; the page says {self.status!r}')

    def click(self, selector: str) -> None:
        self.wait(lambda: self.find(selector), selector).click()

    @property
    def status(self) -> str:
        return self.find('#status p').text

    def wait_for_status(self, part: str) -> str:
        return self.wait(lambda: part in self.status and self.status, f'"{part}"')

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

    def download(self, button: str) -> Path:
        before = set(self.downloads.iterdir())

        def new():
            paths = set(self.downloads.iterdir()) - before
            return [path for path in paths if path.suffix in ('.png', '.json')]

        self.find(f'#{button}').click()
        return self.wait(new, 'the file')[0]

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.browser.save_screenshot(str(SCREENSHOTS / f'{name}.png'))

    def asked_hosts(self) -> set[str]:
        """Hosts of all addresses that the browser has asked for since the last time."""
        entries = self.browser.get_log('performance')
        messages = [json.loads(entry['message'])['message'] for entry in entries]
        sent = [m['params'] for m in messages if m['method'] == 'Network.requestWillBeSent']
        urls = [urlsplit(params['request']['url']) for params in sent]
        return {url.hostname for url in urls if url.scheme not in ('data', 'blob')}
