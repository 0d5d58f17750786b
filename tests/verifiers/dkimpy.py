# Verifies every DKIM signature of a message. Arguments: a JSON object of TXT records by name; the message's file.
# Prints a line for each signature: its algorithm, and pass or fail.
import json
import sys

import dkim

records = {name.rstrip(".").lower(): value for name, value in json.load(open(sys.argv[1])).items()}
message = open(sys.argv[2], "rb").read()


def txt(name, timeout=5):
    return records.get(name.decode().rstrip(".").lower(), "").encode() or None


verifier = dkim.DKIM(message)
count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
for index in range(count):
    verifier = dkim.DKIM(message)
    try:
        good = verifier.verify(idx=index, dnsfunc=txt)
        reason = ""
    except Exception as error:
        good, reason = False, f" {error}"
    fields = verifier.signature_fields
    print(fields.get(b"a", b"?").decode(), fields.get(b"d", b"?").decode(), "pass" if good else "fail" + reason)
