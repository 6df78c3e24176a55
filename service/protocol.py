"""uvicorn's protocol on httptools, but that trailers are no headers: named by UVICORN_HTTP."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HeadOnly(HttpToolsProtocol):
    """Leaves out what stands behind a chunked body (RFC 9110 §6.5.1).

    uvicorn appends it to the headers, behind those that a proxy set: there the client could say who it is.
    """

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if not self.parser.should_upgrade():  # which has no body, and of which the headers are asked for again
            self.headers = []

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle and self.cycle.keep_alive and not self.parser.should_keep_alive():
            # A trailer said so, and the parser reads no more; a proxy would give the connection to somebody else.
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()
