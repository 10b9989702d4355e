"""A mail relay that we did not write: aiosmtpd on a free port of 127.0.0.1, with TLS and logins.

Arguments: how TLS is offered (`none`, `starttls`, `tls`), a file with certificate and key (or `-`), a user and a password
(or `-` for no logins). Prints its port, then one JSON line per login attempt and per mail. Ends when its standard input is
closed.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def say(**what):
    print(json.dumps(what), flush=True)


class Receiver:
    async def handle_DATA(self, server, session, envelope):
        over_tls = server.transport.get_extra_info("ssl_object") is not None
        say(mail=envelope.mail_from, to=envelope.rcpt_tos, tls=over_tls, login=bool(session.authenticated))
        return "250 taken"


def authenticator(user, password):
    def check(server, session, envelope, mechanism, data):
        known = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
        over_tls = server.transport.get_extra_info("ssl_object") is not None
        say(attempt=mechanism, tls=over_tls, known=known)
        return AuthResult(success=known, handled=known)

    return check


async def main():
    mode, pem, user, password = sys.argv[1:5]
    loop = asyncio.get_running_loop()
    context = None
    if pem != "-":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
    settings = {"hostname": "relay.test", "loop": loop}
    if mode == "starttls":
        settings.update(tls_context=context, require_starttls=True)
    if user != "-":
        # aiosmtpd counts only its own STARTTLS as TLS.
        settings.update(auth_required=True, auth_require_tls=mode == "starttls", authenticator=authenticator(user, password))

    def session():
        return SMTP(Receiver(), **settings)

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
