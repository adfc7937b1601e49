"""ClickHouse's HTTP interface before chdb, in a process of its own: `python front.py DIRECTORY` prints its port."""

import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

warnings.simplefilter("ignore")

from chdb.session import Session  # noqa: E402  (what it warns of at its import is not ours)

LOCK = threading.Lock()
SETTINGS = {"insert_deduplication_token", "max_execution_time"}


class Front(BaseHTTPRequestHandler):
    session: Session

    def do_POST(self) -> None:
        asked = dict(parse_qsl(urlsplit(self.path).query))
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if "query" in asked:
            head, _, format_ = asked["query"].partition(" FORMAT ")
            settings = ", ".join(f"{name} = '{asked[name]}'" for name in SETTINGS & asked.keys())
            sql = f"{head} {f'SETTINGS {settings}' if settings else ''} FORMAT {format_} {body}"
        else:
            sql = body
        try:
            with LOCK:
                if asked["database"] != "default":
                    self.session.query(f"USE {asked['database']}")
                status, answer = 200, self.session.query(sql).bytes()
        except Exception as error:  # noqa: BLE001
            status, answer = 500, str(error).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    Front.session = Session(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # until whoever started it goes away


if __name__ == "__main__":
    main()
