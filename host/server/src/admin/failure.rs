//! Every answer that is not 2xx: a status for programs, a stable code, a message for people.
//!
//! Knows the errors of the parts a handler calls and which code each one is; never shows a payload.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bugle_broker::{CreateTopicError, DeleteTopicError, KvWriteError, ReadError, Stopped, SubscriptionError};
use bugle_core::code::Code;

use crate::api;
use crate::host::{
    ApplyError, BackUpError, DeployError, EraseError, ExplainError, KeptError, NewTopicError, RecordsError,
    RemoveError, RetainError, RunError, SimulateError,
};

/// A refusal.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: Code,
    message: String,
}

/// What a handler gives.
pub(super) type Answer<T> = Result<Json<T>, Failure>;

impl Failure {
    /// A refusal with a code and a message; the code decides the status.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Failure {
        let message = message.into();
        let status = status(code);
        Failure { status, code, message }
    }

    /// A failure of the host, told with its causes and logged here, where it is handled.
    pub(super) fn internal(code: Code, error: &dyn std::error::Error) -> Failure {
        let message = chain(error);
        tracing::error!(error = %message, "an admin request failed");
        Failure::new(code, message)
    }

    /// The caller's mistake.
    pub(super) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(Code::Invalid, message)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Denied => StatusCode::FORBIDDEN,
        Code::NotFound | Code::UnknownTopic => StatusCode::NOT_FOUND,
        Code::Exists | Code::Conflict => StatusCode::CONFLICT,
        Code::TooLarge | Code::EventTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Quota => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable | Code::GoingAway => StatusCode::SERVICE_UNAVAILABLE,
        Code::StorageFailed | Code::DiskFull => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = self.code.text().to_owned();
        let message = self.message;
        (self.status, Json(api::Failure { code, message })).into_response()
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        Failure::internal(Code::StorageFailed, &error)
    }
}

impl From<Stopped> for Failure {
    fn from(error: Stopped) -> Failure {
        Failure::new(Code::Unavailable, error.to_string())
    }
}

impl From<CreateTopicError> for Failure {
    fn from(error: CreateTopicError) -> Failure {
        match &error {
            CreateTopicError::Exists(_) => Failure::new(Code::Exists, error.to_string()),
            CreateTopicError::Reserved(_) => Failure::new(Code::Denied, error.to_string()),
            CreateTopicError::Read(_) => Failure::internal(Code::StorageFailed, &error),
            CreateTopicError::Stopped(_) => Failure::internal(Code::Unavailable, &error),
        }
    }
}

impl From<DeleteTopicError> for Failure {
    fn from(error: DeleteTopicError) -> Failure {
        match &error {
            DeleteTopicError::NotFound(_) => Failure::new(Code::UnknownTopic, error.to_string()),
            DeleteTopicError::Reserved(_) => Failure::new(Code::Denied, error.to_string()),
            DeleteTopicError::Covered { .. } | DeleteTopicError::Scheduled { .. } => {
                Failure::new(Code::Conflict, error.to_string())
            }
            DeleteTopicError::Read(_) => Failure::internal(Code::StorageFailed, &error),
            DeleteTopicError::Stopped(_) => Failure::internal(Code::Unavailable, &error),
        }
    }
}

impl From<RetainError> for Failure {
    fn from(error: RetainError) -> Failure {
        match &error {
            RetainError::Bus(_) => Failure::internal(error.code(), &error),
            _ => Failure::new(error.code(), error.to_string()),
        }
    }
}

impl From<NewTopicError> for Failure {
    fn from(error: NewTopicError) -> Failure {
        match error {
            NewTopicError::Retention(error) => error.into(),
            NewTopicError::Create(error) => error.into(),
        }
    }
}

impl From<SubscriptionError> for Failure {
    fn from(error: SubscriptionError) -> Failure {
        match &error {
            SubscriptionError::NotFound(name) => Failure::new(
                Code::NotFound,
                format!("there is no subscription `{name}`; `bugle subscription list` shows them"),
            ),
            SubscriptionError::FilterTooDeep { .. }
            | SubscriptionError::FilterTooLarge { .. }
            | SubscriptionError::Empty(_) => Failure::invalid(error.to_string()),
            SubscriptionError::StillEnding(_) | SubscriptionError::OtherChannel(_) => {
                Failure::new(Code::Conflict, error.to_string())
            }
            SubscriptionError::Read(_) => Failure::internal(Code::StorageFailed, &error),
            SubscriptionError::Stopped(_) => Failure::internal(Code::Unavailable, &error),
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Failure {
        match error {
            ApplyError::Bus(error) => error.into(),
            ApplyError::Read(error) => error.into(),
            error => Failure::new(error.code(), chain(&error)),
        }
    }
}

impl From<SimulateError> for Failure {
    fn from(error: SimulateError) -> Failure {
        match error {
            SimulateError::NotFound(_) => Failure::new(Code::NotFound, error.to_string()),
            SimulateError::OtherName { .. } | SimulateError::NoRule(_) => Failure::invalid(error.to_string()),
            SimulateError::Definition(error) => error.into(),
        }
    }
}

impl From<RemoveError> for Failure {
    fn from(error: RemoveError) -> Failure {
        match error {
            RemoveError::IsTarget { .. } => Failure::new(Code::Conflict, error.to_string()),
            RemoveError::Bus(error) => error.into(),
        }
    }
}

impl From<KeptError> for Failure {
    fn from(error: KeptError) -> Failure {
        match error.code() {
            code @ (Code::StorageFailed | Code::Unavailable) => Failure::internal(code, &error),
            code => Failure::new(code, chain(&error)),
        }
    }
}

impl From<RecordsError> for Failure {
    fn from(error: RecordsError) -> Failure {
        match error {
            RecordsError::Read(error) => error.into(),
            RecordsError::Nothing | RecordsError::Cut => Failure::new(error.code(), error.to_string()),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Bus(error) => error.into(),
            RunError::Read(error) => error.into(),
            error => Failure::new(error.code(), error.to_string()),
        }
    }
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Failure {
        match error {
            ExplainError::Read(error) => error.into(),
            error => Failure::new(error.code(), error.to_string()),
        }
    }
}

impl From<BackUpError> for Failure {
    fn from(error: BackUpError) -> Failure {
        match error.code() {
            code @ (Code::StorageFailed | Code::Unavailable) => Failure::internal(code, &error),
            code => Failure::new(code, error.to_string()),
        }
    }
}

impl From<EraseError> for Failure {
    fn from(error: EraseError) -> Failure {
        match error.code() {
            code @ (Code::StorageFailed | Code::Unavailable) => Failure::internal(code, &error),
            code => Failure::new(code, chain(&error)),
        }
    }
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Failure {
        Failure::new(error.code(), chain(&error))
    }
}

impl From<KvWriteError> for Failure {
    fn from(error: KvWriteError) -> Failure {
        match &error {
            KvWriteError::Read { .. } => Failure::internal(Code::StorageFailed, &error),
            KvWriteError::Stopped { .. } => Failure::internal(Code::Unavailable, &error),
        }
    }
}

impl From<BytesRejection> for Failure {
    fn from(rejection: BytesRejection) -> Failure {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
            _ => Code::Invalid,
        };
        Failure::new(code, format!("the body could not be taken: {}", rejection.body_text()))
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Failure {
        if let JsonRejection::BytesRejection(rejection) = rejection {
            return rejection.into();
        }
        Failure::invalid(crate::hint::explain(&rejection.body_text()))
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Failure {
        Failure::invalid(rejection.body_text())
    }
}

/// Answers a path that nothing is at.
pub(super) async fn no_such_route(uri: Uri) -> Failure {
    Failure::new(
        Code::NotFound,
        format!("there is nothing at `{}`; the routes are listed in docs/operating.md", uri.path()),
    )
}

/// Answers a method that a path does not take.
pub(super) async fn no_such_method(uri: Uri) -> Response {
    let message = format!("`{}` does not take this method", uri.path());
    let mut failure = Failure::invalid(message);
    failure.status = StatusCode::METHOD_NOT_ALLOWED;
    failure.into_response()
}
