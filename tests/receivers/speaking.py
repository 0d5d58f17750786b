"""What the receivers share: an HTTP server on loopback that prints what it hears, a line of JSON each, and first of all its port."""
import http.server
import json
import ssl
import threading

lock = threading.Lock()


def say(value):
    with lock:
        print(json.dumps(value), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, octets, *fields):
        """Answers with these octets and fields of the header: (name, value)."""
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def garbage(self):
        """Answers what is no HTTP."""
        self.wfile.write(b"\x00\xff no HTTP\r\n\r\n")
        self.close_connection = True

    def endless(self):
        """Answers 200 and a body that does not end."""
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b" " * 65536)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):
        pass


def serve(handler, port=0, pair=()):
    """Serves at a port of loopback, 0 for any; under TLS with the files of a certificate and its key."""
    server = Server(("127.0.0.1", port), handler)
    if pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    say({"port": server.server_port})
    server.serve_forever()
