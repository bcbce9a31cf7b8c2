//! Errors as both sides see them, and the one place where they turn into a `tonic::Status` and back. A status carries a
//! standard `google.rpc.Status` with one detail, `hypermnesia.v1.Error`; a status without it (a proxy's, the transport's)
//! is read by its code alone, and then nothing better than "maybe changed" is claimed.

#[cfg(feature = "server")]
mod node;

use std::fmt;

use prost::Message;
use tonic::{Code, Status};

use crate::proto;

pub use crate::proto::ErrorKind;

/// What tonic's own timers say, here and at the server, under the code "cancelled".
const TIMER_TEXT: &str = "Timeout expired";

/// Name of the detail inside `google.rpc.Status`.
const DETAIL_URL: &str = "type.googleapis.com/hypermnesia.v1.Error";

/// The standard envelope of error details (google/rpc/status.proto), by field numbers.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// google.protobuf.Any, by field numbers.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Why a call failed, whether anything was changed, and whether it may be sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    detail: Box<proto::Error>,
    /// Found by this side in its own connection, not said by a server.
    of_connection: bool,
}

impl Error {
    /// An error that says that nothing was changed, save for the kinds of which nobody can know that.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        let facts = facts(kind);
        Error {
            detail: Box::new(proto::Error {
                kind: kind.into(),
                message: message.into(),
                changed: facts.changed.into(),
                retry_safe: facts.retry_safe,
                retry_after_ms: facts.retry_after_ms,
                code: facts.code as u32,
                ..proto::Error::default()
            }),
            of_connection: false,
        }
    }

    /// A wrong field of a request; `field` is its path.
    pub fn invalid(field: impl Into<String>, message: impl fmt::Display) -> Error {
        let field = field.into();
        let mut error = Error::new(ErrorKind::Invalid, format!("{field}: {message}"));
        error.detail.field = field;
        error
    }

    /// The same error about a transaction.
    pub fn with_transaction(mut self, transaction: proto::TransactionId) -> Error {
        self.detail.transaction = Some(transaction);
        self
    }

    /// The same error about a member.
    pub fn with_member(mut self, member: impl Into<String>) -> Error {
        self.detail.member = member.into();
        self
    }

    /// The same error about a place in a statement; line and column count from 1.
    pub fn with_position(mut self, line: u32, column: u32) -> Error {
        self.detail.line = line;
        self.detail.column = column;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.detail.kind()
    }

    /// What went wrong, for people.
    pub fn message(&self) -> &str {
        &self.detail.message
    }

    /// Whether the failed call certainly changed nothing.
    pub fn changed_nothing(&self) -> bool {
        self.detail.changed() == proto::Changed::Nothing
    }

    /// Whether the same call may be sent again without doing its work twice.
    pub fn is_retry_safe(&self) -> bool {
        self.detail.retry_safe
    }

    /// The transaction this is about. Always there for [`ErrorKind::OutcomeUnknown`].
    pub fn transaction(&self) -> Option<proto::TransactionId> {
        self.detail.transaction
    }

    /// The member this is about.
    pub fn member(&self) -> Option<&str> {
        Some(self.detail.member.as_str()).filter(|name| !name.is_empty())
    }

    /// The wrong field of the request, as a path.
    pub fn field(&self) -> Option<&str> {
        Some(self.detail.field.as_str()).filter(|path| !path.is_empty())
    }

    /// Line and column, from 1, of the wrong place in a statement.
    pub fn position(&self) -> Option<(u32, u32)> {
        (self.detail.line > 0).then_some((self.detail.line, self.detail.column))
    }

    /// Whether no server said this: nobody could be reached, or the connection ended before the answer. Which address that
    /// was is known to whoever made the connection.
    pub fn is_of_connection(&self) -> bool {
        self.of_connection
    }

    /// The gRPC status code.
    pub fn code(&self) -> Code {
        facts(self.kind()).code
    }

    /// The message that answers on streams carry.
    pub fn into_message(self) -> proto::Error {
        *self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail.message)
    }
}

impl std::error::Error for Error {}

/// What is always so for a kind.
struct Facts {
    code: Code,
    changed: proto::Changed,
    retry_safe: bool,
    retry_after_ms: u32,
}

fn facts(kind: ErrorKind) -> Facts {
    use proto::Changed::{Maybe, Nothing};
    let (code, changed, retry_safe, retry_after_ms) = match kind {
        ErrorKind::Invalid => (Code::InvalidArgument, Nothing, false, 0),
        ErrorKind::NotFound => (Code::NotFound, Nothing, false, 0),
        ErrorKind::AlreadyExists => (Code::AlreadyExists, Nothing, false, 0),
        ErrorKind::Conflict => (Code::Aborted, Nothing, true, 5),
        ErrorKind::SchemaChanged => (Code::Aborted, Nothing, true, 0),
        ErrorKind::UniqueViolation => (Code::FailedPrecondition, Nothing, false, 0),
        ErrorKind::Refused => (Code::FailedPrecondition, Nothing, false, 0),
        ErrorKind::Unavailable => (Code::Unavailable, Nothing, true, 200),
        ErrorKind::Deadline => (Code::DeadlineExceeded, Nothing, true, 0),
        ErrorKind::OutcomeUnknown => (Code::Unknown, Maybe, false, 0),
        ErrorKind::InDoubt => (Code::Unavailable, Nothing, true, 500),
        ErrorKind::Expired => (Code::FailedPrecondition, Nothing, true, 0),
        ErrorKind::Limit => (Code::ResourceExhausted, Nothing, true, 100),
        ErrorKind::Storage => (Code::DataLoss, Maybe, false, 0),
        ErrorKind::Cancelled => (Code::Cancelled, Maybe, false, 0),
        ErrorKind::Internal | ErrorKind::Unspecified => (Code::Internal, Maybe, false, 0),
    };
    Facts { code, changed, retry_safe, retry_after_ms }
}

impl From<proto::Error> for Error {
    fn from(detail: proto::Error) -> Error {
        Error { detail: Box::new(detail), of_connection: false }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let code = error.code();
        let message = error.message().to_owned();
        let detail = Detail { type_url: DETAIL_URL.to_owned(), value: error.detail.encode_to_vec() };
        let envelope = Envelope { code: code as i32, message: message.clone(), details: vec![detail] };
        Status::with_details(code, message, envelope.encode_to_vec().into())
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        let envelope = Envelope::decode(status.details()).unwrap_or_default();
        let ours = envelope.details.iter().find(|detail| detail.type_url == DETAIL_URL);
        match ours.and_then(|detail| proto::Error::decode(detail.value.as_slice()).ok()) {
            Some(detail) => Error::from(detail),
            None => without_detail(&status),
        }
    }
}

/// Reads a status that did not come from our server: only codes that a server gives before it works on a call are taken to
/// mean that nothing was changed.
fn without_detail(status: &Status) -> Error {
    let (kind, changed) = match status.code() {
        Code::Cancelled if status.message() == TIMER_TEXT => (ErrorKind::Deadline, proto::Changed::Maybe),
        Code::InvalidArgument => (ErrorKind::Invalid, proto::Changed::Nothing),
        Code::NotFound | Code::Unimplemented => (ErrorKind::NotFound, proto::Changed::Nothing),
        Code::ResourceExhausted | Code::OutOfRange => (ErrorKind::Limit, proto::Changed::Nothing),
        Code::Unavailable => (ErrorKind::Unavailable, proto::Changed::Maybe),
        // With a source it is this side's own word: the connection broke.
        _ if std::error::Error::source(status).is_some() => (ErrorKind::Unavailable, proto::Changed::Maybe),
        Code::DeadlineExceeded => (ErrorKind::Deadline, proto::Changed::Maybe),
        Code::Cancelled => (ErrorKind::Cancelled, proto::Changed::Maybe),
        _ => (ErrorKind::Internal, proto::Changed::Maybe),
    };
    if status.message() == TIMER_TEXT {
        return unpromised(Error::new(kind, "no answer came in time"), changed);
    }
    let Some(source) = std::error::Error::source(status) else {
        return unpromised(Error::new(kind, status.message()), changed);
    };
    // Only statuses that this side made have a source.
    let cause = innermost(source);
    let mut error = if is_no_connection(source) {
        Error::new(ErrorKind::Unavailable, format!("cannot connect: {cause}"))
    } else if is_unsent(source) {
        let text =
            format!("the connection had ended before anything was sent, so nothing was applied ({cause})");
        Error::new(ErrorKind::Unavailable, text)
    } else {
        let text = format!(
            "the connection ended before the answer: what was sent may or may not have been applied ({cause})"
        );
        unpromised(Error::new(ErrorKind::Unavailable, text), proto::Changed::Maybe)
    };
    error.of_connection = true;
    error
}

/// The error with what is known about changes, and no promise that goes beyond it.
fn unpromised(mut error: Error, changed: proto::Changed) -> Error {
    error.detail.changed = changed.into();
    error.detail.retry_safe = error.detail.retry_safe && changed == proto::Changed::Nothing;
    error
}

/// Whether there was no connection at all, so that nothing was sent.
fn is_no_connection(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<tonic::ConnectError>())
}

/// Whether the connection gave the request back unsent: it ended between two calls.
fn is_unsent(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|error| error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled))
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    //! Aim: nothing of an error is lost on its way through a status. Method: send each kind through, compare.

    use super::*;

    #[test]
    fn every_kind_survives_the_status() {
        for number in 1..=16 {
            let kind = ErrorKind::try_from(number).expect("kinds are numbered from 1 to 16");
            let id = proto::TransactionId { age: 7, node: 8, sequence: 9 };
            let error = Error::new(kind, "text").with_transaction(id).with_member("n2").with_position(1, 5);
            let status = Status::from(error.clone());
            assert_eq!(status.code(), error.code());
            let back = Error::from(status);
            assert_eq!(back, error);
            assert_eq!(
                (back.member(), back.position(), back.transaction()),
                (Some("n2"), Some((1, 5)), Some(id))
            );
        }
    }

    #[test]
    fn a_foreign_status_never_promises_that_nothing_was_changed() {
        let error = Error::from(Status::unavailable("connection reset"));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.changed_nothing() && !error.is_retry_safe());
    }

    #[test]
    fn what_could_not_be_sent_has_changed_nothing_and_what_was_sent_may_have() {
        // A status of this side's making has its cause as source; a connection that was never there is such a cause.
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let never = Error::from(Status::from_error(Box::new(tonic::ConnectError(Box::new(refused())))));
        assert!(never.changed_nothing() && never.is_retry_safe() && never.is_of_connection(), "{never}");
        let lost = Error::from(Status::from_error(Box::new(refused())));
        assert!(!lost.changed_nothing() && !lost.is_retry_safe() && lost.is_of_connection(), "{lost}");
        assert!(lost.message().contains("may or may not"), "{lost}");
        assert!(!Error::from(Status::unavailable("by a proxy")).is_of_connection());
    }

    #[test]
    fn an_unknown_outcome_is_never_safe_to_repeat() {
        let error = Error::new(ErrorKind::OutcomeUnknown, "no vote from n2");
        assert!(!error.changed_nothing() && !error.is_retry_safe());
    }
}
