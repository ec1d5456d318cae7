"""The page under a path of another server's, as docs/serve.md has it."""

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from visitor import Visitor, needs_browser

from mmvision_mamba.serve.server import served

pytestmark = [pytest.mark.slow, needs_browser]
HOP_BY_HOP = ('connection', 'transfer-encoding')


class Proxy(BaseHTTPRequestHandler):
    """Has the page under /vision/, and says who asked, as nginx does in docs/serve.md."""

    upstream: str

    def pass_on(self) -> None:
        if not self.path.startswith('/vision/'):
            self.send_error(404)
            return
        sent = self.rfile.read(int(self.headers.get('Content-Length', 0))) or None
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        headers |= {'X-Forwarded-Host': self.headers['Host'], 'X-Forwarded-Proto': 'http'}
        connection = HTTPConnection(self.upstream)
        connection.request(self.command, self.path.removeprefix('/vision'), sent, headers)
        answer = connection.getresponse()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in HOP_BY_HOP:
                self.send_header(key, value)
        self.end_headers()
        try:
            while part := answer.read1():
                self.wfile.write(part)
        except ConnectionError:  # of a browser that has left
            connection.close()

    do_GET = do_POST = do_HEAD = pass_on

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def proxied(served_page):
    """Where the proxy has the page."""
    with served(served_page.page.models, root_path='/vision') as page:
        handler = type('ProxyOfPage', (Proxy,), dict(upstream=urlsplit(page.url).netloc))
        with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f'http://127.0.0.1:{server.server_port}/vision/'
            server.shutdown()


def test_the_page_works_under_a_path_of_another_servers(proxied, images, tmp_path):
    visitor = Visitor(proxied, tmp_path)
    try:
        visitor.open()
        visitor.upload(images['image'])
        visitor.wait_for_status('with a score')
        assert visitor.drawn().ndim == 3
        visitor.slide('score', '1')
        visitor.wait_for_status('No object has a score of 1.00')
        assert visitor.download('coco-json').stat().st_size
    finally:
        visitor.browser.quit()
