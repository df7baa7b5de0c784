"""Runs the Autobahn cases against a WebSocket echo and prints a line for each: its number, what is said of the messages,
what is said of the close, and the close code that the echo sent. Compression is not offered, so its cases are left out.
"""

import asyncio
import sys

from kosoku import FailureError, run_fuzzingclient

COMPRESSION = ["12.*", "13.*"]
AT_ONCE = 4


async def results(url):
    try:
        return await run_fuzzingclient(url, None, COMPRESSION, concurrency=AT_ONCE)
    except FailureError as failure:
        return failure.results


def line(case):
    words = [case.behavior.value, case.behavior_close.value]
    words = [word.replace(" ", "-") for word in words]
    return " ".join([case.case_id, *words, str(case.remote_close_code or "none")])


for case in asyncio.run(results(sys.argv[1])):
    print(line(case))
    if not case.passed:
        print(f"# {case.case_id}: {case.result} {case.result_close}")
