"""A collector: takes OTLP over HTTP, decoded with the official classes, and prints each span as a line of JSON.

The first argument is how many requests are answered 503 before the first is taken.
"""
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from speaking import Handler, say, serve


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


class Collector(Handler):
    refusals = int(sys.argv[1])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200
        if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
            status = 400
        elif Collector.refusals > 0:
            Collector.refusals -= 1
            status = 503
        say({"request": status, "authorization": self.headers["Authorization"]})
        if status == 200:
            self.take(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.answer(status, answer, ("Content-Type", "application/x-protobuf"))

    def take(self, request):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    say({
                        "resource": attributes(resource.resource.attributes),
                        "name": span.name,
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "kind": span.kind,
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "links": [link.span_id.hex() for link in span.links],
                        "status": span.status.code,
                        "message": span.status.message,
                        "attributes": attributes(span.attributes),
                    })


serve(Collector)
