"""A mail receiver: aiosmtpd on a free port of the loopback address.

With three arguments it offers STARTTLS and wants it and a login: a file with certificate and key, a user, a password.

Prints its port on the first line of standard output, then one JSON line per message:
{"message_id", "to", "from", "subject", "text"}. Ends when its standard input is closed.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


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


def protection(pem, user, password):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def check(server, session, envelope, mechanism, data):
        known = (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=known, handled=False)

    return {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": check}


async def main():
    loop = asyncio.get_running_loop()
    handler = Receiver()
    settings = {"hostname": "receiver.test", "loop": loop}
    if len(sys.argv) > 1:
        settings.update(protection(*sys.argv[1:]))
    server = await loop.create_server(lambda: SMTP(handler, **settings), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
