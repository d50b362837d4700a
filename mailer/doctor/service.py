"""Does it run, and can it do its work?"""

from __future__ import annotations

from collections.abc import AsyncIterator

from mailer import control
from mailer.doctor.finding import Finding, fault, left_out
from mailer.doctor.scene import Scene
from mailer.errors import ServiceNotRunning


async def locked(scene: Scene) -> AsyncIterator[Finding]:
    """Does the service run, and is it unlocked?"""
    if scene.runs_elsewhere:
        yield left_out("This is a deliverer's folder; the service runs on another one.", "Look there as well.")
        return
    if not scene.has_service:
        yield fault(
            "The service does not run: no letter comes in, and none is answered.", "`mailer serve`, or systemctl start."
        )
        return
    try:
        state = await control.ask(scene.instance.control_path, {"do": "state"})
    except ServiceNotRunning:
        yield fault(
            "The service runs, but does not answer on its socket.",
            "Run this as the service's user; if you did, restart the service and look at its log.",
        )
        return
    if state == "locked":
        yield fault(
            "The service is locked: letters come in and wait, and nothing is answered or sent.", "`mailer unlock`"
        )
