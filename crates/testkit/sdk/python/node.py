"""A real node for the suite: the `fanfare` binary on a free port, its server API, and tokens for its clients."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
BINARY = os.environ.get("SUITE_BINARY", HERE.parents[3] / "target" / "debug" / "fanfare")
CONFIG = HERE.parent / "node.toml"
API_KEY = "suite-key-7Zq3kV9tXw2m"
HMAC_SECRET = b"suite-secret-h4T8cQ1rYb6nJ0sWm5eKx3zPd7"
READY_SECONDS = 20
STOP_SECONDS = 10


class Node:
    def __init__(self):
        self.address = f"127.0.0.1:{free_port()}"
        self.log = tempfile.TemporaryFile()
        # Nothing of the surroundings: a variable of the person who runs the suite must not change the node.
        self.process = subprocess.Popen(
            [BINARY, "serve", "--config", CONFIG],
            env={"FANFARE_LISTEN__ADDRESS": self.address},
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        self._wait_until_ready()

    def stop(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the node had ended by itself:\n{self._logged()}")
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    async def api(self, method, **request):
        return await asyncio.to_thread(self._call, method, request)

    async def publish(self, channel, data):
        return await self.api("publish", channel=channel, data=data)

    def _call(self, method, request):
        headers = {"Content-Type": "application/json", "X-API-Key": API_KEY}
        body = json.dumps(request).encode()
        call = urllib.request.Request(f"http://{self.address}/api/{method}", body, headers)
        with urllib.request.urlopen(call, timeout=10) as response:
            answer = json.load(response)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _wait_until_ready(self):
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        self.process.kill()
        raise RuntimeError(f"{BINARY} did not get ready:\n{self._logged()}")

    def _logged(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


def token(**claims):
    """A connection token, or a subscription token where the claims name a channel."""

    def encode(part):
        return base64.urlsafe_b64encode(part).rstrip(b"=")

    signed = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(HMAC_SECRET, signed, hashlib.sha256).digest()
    return b".".join((signed, encode(signature))).decode()


def in_seconds(seconds):
    return int(time.time()) + seconds


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
