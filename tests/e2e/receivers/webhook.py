"""A webhook receiver that believes nobody: every request is verified with the official standardwebhooks library.

Prints its port on the first line of standard output, then one JSON line per request:
{"id", "verified", "error", "body"}. Ends when its standard input is closed, so it never outlives the test.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook

OUTPUT = threading.Lock()


def say(line):
    with OUTPUT:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    webhook = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        error = None
        try:
            self.webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except Exception as failure:  # any doubt is a refusal, whatever the library calls it
            error = repr(failure)
        seen = {
            "id": self.headers.get("webhook-id"),
            "verified": error is None,
            "error": error,
            "body": body.decode("utf-8", "replace"),
        }
        say(json.dumps(seen))
        self.send_response(200 if error is None else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    Receiver.webhook = Webhook(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    say(str(server.server_address[1]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
