"""The deliverer beside the service: `mailer work` as a child of `mailer serve`, so that the intake never reads the
register. Both passphrases cross a pipe once and are forgotten here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path

import mailer

STOP_WITHIN_S = 10.0

log = logging.getLogger("mailer")


@dataclass
class DelivererProcess:
    """At most one `mailer work` for an instance."""

    folder: Path
    _process: Process | None = None
    _watch: asyncio.Task[None] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # two commands at once must not leave two behind

    @property
    def is_running(self) -> bool:
        """Whether there is one at work."""
        return self._process is not None and self._process.returncode is None

    async def start(self, service_passphrase: str, roster_passphrase: str) -> None:
        """Start it, ending the one before."""
        async with self._turn:
            await self._stop()
            await self._start(service_passphrase, roster_passphrase)

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL if it does not give its leases back in time."""
        async with self._turn:
            await self._stop()

    async def _start(self, service_passphrase: str, roster_passphrase: str) -> None:
        # -P: whatever lies in the folder that the service was started in, this very package is what runs
        arguments = ("-P", "-m", "mailer", "work", "--instance", str(self.folder), "--passphrases-on-stdin")
        where = os.pathsep.join(filter(None, [str(Path(mailer.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": where}
        self._process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, env=environment)
        if self._process.stdin is not None:
            told = json.dumps([service_passphrase, roster_passphrase, os.getpid()])
            self._process.stdin.write(told.encode() + b"\n")
            self._process.stdin.close()
        self._watch = asyncio.create_task(self._say_when_gone(self._process))

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _say_when_gone(self, process: Process) -> None:
        code = await process.wait()
        if process is self._process:
            log.error("the deliverer ended (exit code %d): digests wait until `mailer work` or an unlock", code)
