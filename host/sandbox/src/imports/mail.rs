//! `mail`: messages by the host's relay. Needs the grant `mail`.
//!
//! Addresses, sizes and the relay's rules are egress's; whether the message may have left is told to the core.

use bugle_egress::Mail;

use super::{denied, http::from_egress};
use crate::apart;
use crate::bindings::bugle::plugin::{mail, types};
use crate::calls::HostCalls;
use crate::state::State;

impl<C: HostCalls> mail::Host for State<C> {
    async fn send(&mut self, t: types::Ticket, m: mail::Message) -> Result<mail::Accepted, types::Error> {
        let idempotency_key = self.live(t)?.delivery().idempotency_key.clone();
        let mailer = self.rights.mailer().map_err(denied)?;
        let message = Mail {
            sender: m.sender,
            to: m.to,
            cc: m.cc,
            bcc: m.bcc,
            reply_to: m.reply_to,
            subject: m.subject,
            text: m.text,
            html: m.html,
            headers: m.headers,
            message_id: m.message_id.unwrap_or(idempotency_key),
        };
        let evidence = self.egress_start(t).await?;
        let timeout = self.time_for_outgoing();
        let work = async move || mailer.send(message, timeout, &evidence).await;
        let sent = apart::run(work).await;
        self.egress_end().await;
        sent?
            .map(|accepted| mail::Accepted { message_id: accepted.message_id, reply: accepted.reply })
            .map_err(from_egress)
    }
}
