//! The engine's errors as errors of the remote interface: the one place where that is decided. `docs/grpc.md` has the table.

use hypermnesia::backup::BackupError;
use hypermnesia::{Error as NodeError, QueryError, QueryErrorKind, TxId};

use super::{Error, ErrorKind};
use crate::proto;
use crate::server::transaction_message;

impl From<NodeError> for Error {
    fn from(error: NodeError) -> Error {
        if matches!(error, NodeError::RequestReused { .. }) {
            return Error::invalid("options.request_id", "was used for another request");
        }
        let text = error.to_string();
        let out = Error::new(kind_of(&error), text);
        match error {
            NodeError::Unknown { txid } | NodeError::InDoubt { txid } => about(out, txid),
            NodeError::Query(error) => placed(out, &error),
            NodeError::Unavailable { member, .. } => out.with_member(member),
            // Some of it is restored, whatever the cause says of itself.
            NodeError::RestoreStopped { .. } => super::unpromised(out, proto::Changed::Maybe),
            _ => out,
        }
    }
}

/// A wrong statement: the message shows its place with a caret, line and column tell it to programs.
impl From<QueryError> for Error {
    fn from(error: QueryError) -> Error {
        NodeError::Query(error).into()
    }
}

fn placed(out: Error, error: &QueryError) -> Error {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    match error.position {
        Some(at) => out.with_position(number(at.line), number(at.column)),
        None => out,
    }
}

fn about(error: Error, id: TxId) -> Error {
    error.with_transaction(transaction_message(id))
}

fn kind_of(error: &NodeError) -> ErrorKind {
    match error {
        NodeError::Config(_)
        | NodeError::Row(_)
        | NodeError::Value(_)
        | NodeError::Schema(_)
        | NodeError::Record { .. }
        | NodeError::RequestReused { .. }
        | NodeError::NoSuchAttribute { .. } => ErrorKind::Invalid,
        NodeError::Query(error) if error.kind == QueryErrorKind::Limit => ErrorKind::Limit,
        NodeError::Query(_) => ErrorKind::Invalid,
        NodeError::NoSuchMember { .. }
        | NodeError::NoSuchTable { .. }
        | NodeError::NoSuchIndex { .. }
        | NodeError::NoSuchSequence { .. } => ErrorKind::NotFound,
        // Files of the server's own are no part of any request; these were sent.
        NodeError::Backup { error: BackupError::Io { .. }, .. }
        | NodeError::BackupChain(_)
        | NodeError::RestoreMismatch { .. } => ErrorKind::Refused,
        NodeError::Backup { .. } => ErrorKind::Invalid,
        NodeError::RestoreStopped { cause, .. } => kind_of(cause),
        NodeError::TableExists { .. } | NodeError::IndexExists { .. } => ErrorKind::AlreadyExists,
        NodeError::Conflict { .. } => ErrorKind::Conflict,
        NodeError::SchemaChanged { .. } => ErrorKind::SchemaChanged,
        NodeError::Unique { .. } => ErrorKind::UniqueViolation,
        NodeError::NoCopy { .. }
        | NodeError::LastCopy { .. }
        | NodeError::SystemTable { .. }
        | NodeError::WrongKind { .. }
        | NodeError::NoDataDirectory { .. }
        | NodeError::BlockedByOuter { .. }
        | NodeError::LoadsItself { .. }
        | NodeError::Aborted { .. } => ErrorKind::Refused,
        NodeError::Unavailable { .. }
        | NodeError::NotReady { .. }
        | NodeError::Replaced { .. }
        | NodeError::Removed { .. }
        | NodeError::Closed => ErrorKind::Unavailable,
        NodeError::DeadlineExceeded | NodeError::LoadTooLong { .. } => ErrorKind::Deadline,
        NodeError::Unknown { .. } => ErrorKind::OutcomeUnknown,
        NodeError::InDoubt { .. } => ErrorKind::InDoubt,
        NodeError::Ended | NodeError::Expired { .. } | NodeError::EventsGone { .. } => ErrorKind::Expired,
        NodeError::Overloaded { .. }
        | NodeError::TooLarge { .. }
        | NodeError::TableFull { .. }
        | NodeError::RowTooLarge { .. }
        | NodeError::MemoryFull { .. }
        | NodeError::RequestsFull
        | NodeError::SequenceExhausted { .. }
        | NodeError::IndexEntryTooLong { .. } => ErrorKind::Limit,
        NodeError::Damaged { .. } | NodeError::Disc(_) => ErrorKind::Storage,
        // The node has stopped; nobody knows what was under way.
        NodeError::Broken(_) => ErrorKind::Internal,
        _ => ErrorKind::Internal,
    }
}
