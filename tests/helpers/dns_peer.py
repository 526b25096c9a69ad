"""A DNS server on loopback that answers as told: it rebinds, floods, keeps silent."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSRecord

SILENT = ("silent",)
"""In place of addresses: no answer at all."""

Answers = Sequence[str]


@dataclass
class DnsPeer:
    """address: where it listens, as `DUIKOU_NAMESERVERS` takes it. asked: every name that was asked for."""

    names: Mapping[str, Sequence[Answers]]
    address: str = ""
    asked: list[str] = field(default_factory=list)
    _turns: dict[tuple[str, str], int] = field(default_factory=dict)

    def answer(self, question: bytes) -> bytes | None:
        """The answer to one packet, `None` for silence."""
        query = DNSRecord.parse(question)
        name, kind = str(query.q.qname).rstrip(".").lower(), QTYPE[query.q.qtype]
        self.asked.append(name)
        reply = query.reply()
        turns = self.names.get(name)
        if turns is None:
            reply.header.rcode = RCODE.NXDOMAIN
            return bytes(reply.pack())
        turn = self._turns.get((name, kind), 0)
        self._turns[name, kind] = turn + 1
        addresses = turns[min(turn, len(turns) - 1)]
        if addresses is SILENT:
            return None
        for address in addresses:
            packed = ip_address(address).packed
            record = A(tuple(packed)) if len(packed) == 4 else AAAA(tuple(packed))
            if kind == type(record).__name__:
                reply.add_answer(RR(query.q.qname, getattr(QTYPE, kind), rdata=record, ttl=0))
        return bytes(reply.pack())


@contextmanager
def dns_peer(**names: Sequence[Answers]) -> Iterator[DnsPeer]:
    """Serve these names (dots written as `__`): for each the answers of its first look-up, its second and so on."""
    peer = DnsPeer({name.replace("__", "."): turns for name, turns in names.items()})

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            packet, socket = self.request
            if (answer := peer.answer(packet)) is not None:
                socket.sendto(answer, self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as server:
        peer.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield peer
        finally:
            server.shutdown()
            thread.join()
