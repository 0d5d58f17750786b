"""An API server of Kubernetes, as far as a pod asks it: answers as a file says, to who shows the token in that file. Prints each request as a line
of JSON.

Arguments: the file; PEM files of a certificate and its key.

The file: `{"token": "…", "manner": "…", "status": 200, "answer": {…}}`, read anew for each request. `manner`: `say`, the answer; `never`, nothing;
`garbage`, what is no HTTP; `endless`, a body that does not end.
"""
import http.server
import json
import ssl
import sys
import threading
import time

lock = threading.Lock()


def say(value):
    with lock:
        print(json.dumps(value), flush=True)


def refusal(code, reason, message):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with open(sys.argv[1]) as file:
            wanted = json.load(file)
        token = self.headers["Authorization"]
        say({"asked": self.path, "authorization": token})
        if token != "Bearer " + wanted["token"]:
            return self.answer(401, refusal(401, "Unauthorized", "Unauthorized"))
        if wanted["manner"] == "never":
            time.sleep(600)
        if wanted["manner"] == "garbage":
            self.wfile.write(b"\x00\xff no HTTP\r\n\r\n")
            self.close_connection = True
            return None
        if wanted["manner"] == "endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b" " * 65536)
        return self.answer(wanted["status"], wanted["answer"])

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), ApiServer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
say({"port": server.server_port})
server.serve_forever()
