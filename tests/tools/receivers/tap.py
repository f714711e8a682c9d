"""Receives OTLP/HTTP by oteltap on a port, prints each span and log record as one line of JSON, and sends spans on to
another URL, if one is given."""

import asyncio
import sys

from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings


async def main(port, onward=None):
    settings = OtelTapHttpProtobufReceiverSettings(
        http_port=int(port),
        print_traces_as_ndjson=True,
        print_logs_as_ndjson=True,
        reemit_traces_to_url=onward,
    )
    async with OtelTapHttpProtobufReceiver(settings):
        print("ready", flush=True)
        # Until it is ended; never longer than a test may last.
        await asyncio.sleep(300)


asyncio.run(main(*sys.argv[1:]))
