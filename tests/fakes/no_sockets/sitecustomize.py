"""Python that may open no socket: put this folder on PYTHONPATH, for a process and its children.

Whoever tries ends the process, as libraries pass over errors of what they ask for unasked. Pipes
and sockets between processes of one machine (AF_UNIX) are not touched.
"""

import os
import socket
import sys
from typing import Any

EVENTS = frozenset(
    {
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendmsg",
        "socket.sendto",
    }
)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in EVENTS:
        return
    opened = arguments[0] if arguments else None
    if getattr(opened, "family", None) == getattr(socket, "AF_UNIX", -1):
        return
    print(f"{event} {arguments}: no socket is to be opened here", file=sys.stderr, flush=True)
    os._exit(70)


sys.addaudithook(_refuse)
