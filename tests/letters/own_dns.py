"""A world with one DNS server: runs a command in which every name is looked up in a file of TXT records.

Called by `look_up_in`, in namespaces of its own: nothing outside sees the server, and the command sees nothing outside.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.conftest import ROOT, needs

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def look_up_in(records: Mapping[str, str], *command: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run a command that finds these TXT records, and nothing else, in the DNS."""
    world = [needs("unshare"), "--net", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    inside = [sys.executable, "-m", "tests.letters.own_dns", json.dumps(dict(records)), *command]
    return subprocess.run([*world, *inside], input=stdin, capture_output=True, check=False, cwd=ROOT)


def main(records: Mapping[str, str], command: list[str]) -> int:
    """The part inside the namespaces."""
    _raise_loopback()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolv_conf:
        resolv_conf.write("nameserver 127.0.0.1\n")
        resolv_conf.flush()
        target = os.path.realpath("/etc/resolv.conf")
        subprocess.run(["mount", "--bind", resolv_conf.name, target], check=True)
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))
        threading.Thread(target=_serve, args=(server, records), daemon=True).start()
        return subprocess.run(command, check=False).returncode


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        [flags] = struct.unpack_from("h", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _serve(server: socket.socket, records: Mapping[str, str]) -> None:
    while True:
        packet, client = server.recvfrom(4096)
        question = dns.message.from_wire(packet)
        answer = dns.message.make_response(question, recursion_available=True)
        answer.flags |= dns.flags.AA
        name = question.question[0].name
        value = records.get(name.to_text(omit_final_dot=True))
        if value is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            strings = " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", strings))
        server.sendto(answer.to_wire(), client)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
