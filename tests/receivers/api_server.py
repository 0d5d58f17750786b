"""An API server of Kubernetes, as far as a pod asks it: answers as a file says, to who shows the token in that file. Prints each request as a line
of JSON.

Arguments: the file; PEM files of a certificate and its key.

The file: `{"token": "…", "manner": "…", "status": 200, "answer": {…}}`, read anew for each request. `manner`: `say`, the answer; `never`, nothing;
`garbage`, what is no HTTP; `endless`, a body that does not end.
"""
import json
import sys
import time

from speaking import Handler, say, serve


def refusal(code, reason, message):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}


class ApiServer(Handler):
    def do_GET(self):
        with open(sys.argv[1]) as file:
            wanted = json.load(file)
        token = self.headers["Authorization"]
        say({"asked": self.path, "authorization": token})
        if token != "Bearer " + wanted["token"]:
            return self.object(401, refusal(401, "Unauthorized", "Unauthorized"))
        if wanted["manner"] == "never":
            time.sleep(600)
        if wanted["manner"] == "garbage":
            return self.garbage()
        if wanted["manner"] == "endless":
            return self.endless()
        return self.object(wanted["status"], wanted["answer"])

    def object(self, status, value):
        self.answer(status, json.dumps(value).encode(), ("Content-Type", "application/json"))


serve(ApiServer, pair=sys.argv[2:4])
