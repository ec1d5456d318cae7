"""A window of Chromium without a network; what the tests of pages share."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

webdriver = pytest.importorskip('selenium.webdriver', reason='Selenium is not installed')
from selenium.common.exceptions import (  # noqa: E402
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By  # noqa: E402

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
DRIVER = shutil.which('chromedriver')
SCREENSHOTS = Path(__file__).parents[1] / 'build' / 'screenshots'

needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason='no browser: the page is tested in Chromium (apt-get install chromium chromium-driver)',
)


class Window:
    """A window of the browser."""

    def __init__(self, downloads: Path) -> None:
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
        self.downloads = downloads
        self.resize(1400, 1250)

    @property
    def status(self) -> str:
        """What the page says."""
        raise NotImplementedError

    def resize(self, width: int, height: int) -> None:
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)

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

    def wait_for_status(self, part: str) -> str:
        return self.wait(lambda: part in self.status and self.status, f'"{part}"')

    def click(self, selector: str) -> None:
        self.wait(lambda: self.find(selector), selector).click()

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
