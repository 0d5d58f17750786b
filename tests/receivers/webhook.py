"""A receiver of webhooks: checks each call with the official library, and prints it as a line of JSON.

Arguments: the secret; the port, or 0; how it answers; PEM files of a certificate and its key, for TLS.

How it answers: `ok`; `refuse:N`, the first N calls with 503; `hold`, never; `ask:S`, always 429 with `Retry-After: S`; `move`, with a redirect to
itself; `garbage`, with what is no HTTP; `endless`, 200 and a body that does not end.
"""
import sys
import time

from speaking import Handler, say, serve
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

secret, port, manner = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Receiver(Handler):
    refusals = int(manner.partition(":")[2] or 0) if manner.startswith("refuse") else 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = Webhook(secret).verify(body, dict(self.headers))
        except WebhookVerificationError as error:
            say({"wrong": str(error)})
            return self.answer(401, b"who are you?")
        say({
            "call": event,
            "id": self.headers["webhook-id"],
            "signatures": len(self.headers["webhook-signature"].split()),
            "agent": self.headers["User-Agent"],
            "type": self.headers["Content-Type"],
            "path": self.path,
            "peer": self.client_address[1],
        })
        if Receiver.refusals > 0:
            Receiver.refusals -= 1
            return self.answer(503, b"come\x07 again")
        if manner == "hold":
            time.sleep(600)
        if manner.startswith("ask"):
            return self.answer(429, b"", ("Retry-After", manner.partition(":")[2]))
        if manner == "move":
            return self.answer(307, b"", ("Location", "/elsewhere"))
        if manner == "garbage":
            return self.garbage()
        if manner == "endless":
            return self.endless()
        return self.answer(204 if manner == "ok" else 200, b"")


serve(Receiver, port, sys.argv[4:6])
