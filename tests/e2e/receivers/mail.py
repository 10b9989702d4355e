"""A mail receiver: aiosmtpd on a free port of the loopback address.

Prints its port on the first line of standard output, then one JSON line per message:
{"message_id", "to", "from", "subject", "text"}. Ends when its standard input is closed.
"""

import asyncio
import email
import email.policy
import json
import sys

from aiosmtpd.smtp import SMTP


class Receiver:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        body = message.get_body(preferencelist=("plain", "html"))
        seen = {
            "message_id": (message["message-id"] or "").strip(),
            "to": envelope.rcpt_tos,
            "from": envelope.mail_from,
            "subject": message["subject"],
            "text": body.get_content() if body else "",
        }
        print(json.dumps(seen), flush=True)
        return "250 taken"


async def main():
    loop = asyncio.get_running_loop()
    handler = Receiver()
    server = await loop.create_server(lambda: SMTP(handler, hostname="receiver.test", loop=loop), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
