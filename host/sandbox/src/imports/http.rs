//! `http`: requests to the outside, through the one egress path.
//!
//! The core is told before and after each request, with what the host saw; allow-lists and addresses are egress's.
//!
//! Invariant: no request leaves before the core agreed, and each that was agreed is ended with its evidence.

use bugle_core::code::Code;
use bugle_egress::{Evidence, Request};
use futures_util::future::join_all;
use std::time::Duration;

use super::error;
use crate::apart;
use crate::bindings::bugle::plugin::{http, types};
use crate::calls::HostCalls;
use crate::state::State;

/// Requests of one `send-all`, as the plugin contract says.
const REQUESTS_MAX: usize = 16;

type Answer = Result<http::Response, types::Error>;

impl<C: HostCalls> http::Host for State<C> {
    async fn send(&mut self, t: types::Ticket, req: http::Request) -> Answer {
        let (request, timeout) = self.prepare(t, req)?;
        let evidence = self.egress_start(t).await?;
        let client = self.rights.http.clone();
        let work = async move || client.send(request, timeout, &evidence).await;
        let answer = apart::run(work).await;
        self.egress_end().await;
        answer?.map(response).map_err(from_egress)
    }

    async fn send_all(&mut self, t: types::Ticket, reqs: Vec<http::Request>) -> Vec<Answer> {
        if reqs.len() > REQUESTS_MAX {
            let refuse = || Err(error(Code::Quota, format!("at most {REQUESTS_MAX} requests at once")));
            return reqs.iter().map(|_| refuse()).collect();
        }
        let mut started: Vec<Result<(Request, Duration, Evidence), types::Error>> = Vec::new();
        for request in reqs {
            started.push(match self.prepare(t, request) {
                Ok((request, timeout)) => self.egress_start(t).await.map(|evidence| (request, timeout, evidence)),
                Err(refusal) => Err(refusal),
            });
        }
        let answers = started.into_iter().map(|started| {
            let client = self.rights.http.clone();
            async move {
                let (request, timeout, evidence) = started?;
                let work = async move || client.send(request, timeout, &evidence).await;
                apart::run(work).await?.map(response).map_err(from_egress)
            }
        });
        let answers = join_all(answers).await;
        self.egress_end().await;
        answers
    }
}

impl<C: HostCalls> State<C> {
    /// The request for egress, and how long it may take.
    fn prepare(&mut self, ticket: u64, req: http::Request) -> Result<(Request, Duration), types::Error> {
        let idempotency_key = self.live(ticket)?.delivery().idempotency_key.clone();
        let left = self.time_for_outgoing();
        let timeout = req.timeout.map_or(left, |millis| left.min(Duration::from_millis(millis)));
        let mut headers = req.headers;
        if let Some(name) = req.idempotency_header {
            if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
                let problem = "the idempotency header is set among the headers too; leave it out there";
                return Err(error(Code::Invalid, problem));
            }
            headers.push((name, idempotency_key));
        }
        Ok((Request { method: req.method, url: req.url, headers, body: req.body }, timeout))
    }
}

fn response(answer: bugle_egress::Response) -> http::Response {
    http::Response { status: answer.status, headers: answer.headers, body: answer.body }
}

/// An error of egress in the guest's words; its codes are those of the contract.
pub(super) fn from_egress(failure: bugle_egress::EgressError) -> types::Error {
    let retry_after = match &failure {
        bugle_egress::EgressError::NotSent { retry_after, .. } => retry_after.map(|after| after.0),
        _ => None,
    };
    types::Error { code: failure.code().to_owned(), message: failure.to_string(), retry_after }
}
