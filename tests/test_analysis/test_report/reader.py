"""Somebody who reads a report in Chromium."""

from pathlib import Path

from browser import BROWSER, DRIVER, SCREENSHOTS, webdriver

# Of each drawing's texts, those that lie on another by more than a pixel.
_OVERLAPPING = """
const found = [];
for (const svg of document.querySelectorAll('svg')) {
  const texts = [...svg.querySelectorAll('text')];
  const boxes = texts.map(text => text.getBoundingClientRect());
  for (let i = 0; i < texts.length; i++)
    for (let j = 0; j < i; j++) {
      const a = boxes[i], b = boxes[j];
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 &&
          b.top < a.bottom - 1 && a.height < 200)
        found.push(texts[i].textContent + ' / ' + texts[j].textContent);
    }
}
return found;
"""
# Texts that are cut off by the edge of their drawing.
_CUT_OFF = """
const found = [];
for (const text of document.querySelectorAll('svg text')) {
  const a = text.getBoundingClientRect(), b = text.ownerSVGElement.getBoundingClientRect();
  if (a.left < b.left - 2 || a.right > b.right + 2 || a.top < b.top - 2 || a.bottom > b.bottom + 2)
    found.push(text.textContent);
}
return found;
"""


class Reader:
    """A browser with reports open."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage'):
            options.add_argument(argument)
        options.set_capability('goog:loggingPrefs', dict(browser='ALL'))
        self.browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))

    def open(self, path: Path, width: int) -> None:
        size = dict(width=width, height=1000, deviceScaleFactor=1, mobile=False)
        self.browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
        self.browser.get(path.as_uri())

    def run(self, script: str):
        return self.browser.execute_script(script)

    def overlapping_texts(self) -> list[str]:
        return self.run(_OVERLAPPING)

    def cut_off_texts(self) -> list[str]:
        return self.run(_CUT_OFF)

    def hangs_over(self) -> bool:
        """Whether the page is wider than the window."""
        return self.run('return document.documentElement.scrollWidth > innerWidth')

    def complaints(self) -> list[dict]:
        """What the browser says of a page that fetches, or runs, what it may not."""
        return self.browser.get_log('browser')

    def screenshot(self, name: str) -> None:
        """The whole page, kept in build/screenshots."""
        height = self.run('return document.documentElement.scrollHeight')
        width = self.run('return innerWidth')
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.browser.save_screenshot(str(SCREENSHOTS / f'{name}.png'))
