//! What one control plane says to another, in one sealed and versioned envelope each way. A request names the cluster and
//! the raft id it is meant for: at an address there may be somebody else by now, above all the same node with a new store.
//!
//! What comes from outside is checked here. The consensus library trusts its peers and asserts on what a correct one never
//! sends, so nothing reaches it that is not sound by itself.

use hypermnesia_store::codec::{self, CodecError};
use serde::{Deserialize, Serialize};

use super::kind::{Append, Appended, LogId, Members, Vote, VoteAnswer, VoteRequest};
use super::voter::RaftId;
use crate::limits::{
    PLANE_APPEND_ENTRIES_MAX, PLANE_MESSAGE_BYTES_MAX, PLANE_SNAPSHOT_BYTES_MAX, PLANE_TERM_MAX,
};

const REQUEST_KIND: u16 = 21;
const ANSWER_KIND: u16 = 22;

/// Version of both. Another one is refused.
const VERSION: u16 = 1;

#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    #[serde(deserialize_with = "codec::text")]
    pub(super) cluster: String,
    pub(super) to: RaftId,
    pub(super) ask: Ask,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Ask {
    /// Take these entries of the leader, or none: hear that it leads.
    Append(Append),
    /// Vote for me.
    Vote(VoteRequest),
    /// Become this state of the leader.
    Snapshot { vote: Vote, last: LogId, members: Members, bytes: Vec<u8> },
    /// Would you vote for me, whose log ends here? Answering changes nothing.
    Canvass { last: Option<LogId> },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Append(Appended),
    Vote(VoteAnswer),
    Snapshot(Vote),
    Canvass(bool),
    Refused(Refusal),
}

/// Why a request was not handled. Nothing came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it belongs to another cluster")]
    Cluster,
    #[error("another voter is there now, or one whose store was lost")]
    NotMe,
    #[error("its control plane has stopped")]
    Stopped,
}

/// Bytes that are no message of ours. Nothing came of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadMessage {
    #[error("a message of a control plane cannot be read: {0}")]
    Codec(#[from] CodecError),
    #[error(
        "a message of a control plane is of version {0}, this is version {VERSION}: run the same release everywhere"
    )]
    Version(u16),
    #[error("a control plane says what none may say: {0}")]
    Unsound(&'static str),
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::seal(REQUEST_KIND, VERSION, &codec::encode(self))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Request, BadMessage> {
        let request: Request = opened(REQUEST_KIND, bytes)?;
        request.ask.sound().map_err(BadMessage::Unsound)?;
        Ok(request)
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::seal(ANSWER_KIND, VERSION, &codec::encode(self))
    }

    /// The answer to this request, if it may be one.
    pub(super) fn decode(bytes: &[u8], to: &Asked) -> Result<Answer, BadMessage> {
        let answer: Answer = opened(ANSWER_KIND, bytes)?;
        let unsound = |what| Err(BadMessage::Unsound(what));
        match (&answer, to) {
            (Answer::Refused(_), _) | (Answer::Canvass(_), Asked::Canvass) => {}
            (Answer::Append(Appended::Success), Asked::Append { .. }) => {}
            (Answer::Append(Appended::Conflict), Asked::Append { prev: true, .. }) => {}
            (Answer::Append(Appended::HigherVote(higher)), Asked::Append { vote, .. }) => {
                if !(believable(higher) && higher > vote) {
                    return unsound("a higher vote that is not higher");
                }
            }
            (Answer::Vote(answer), Asked::Vote) if believable(&answer.vote) => {}
            (Answer::Snapshot(vote), Asked::Snapshot) if believable(vote) => {}
            _ => return unsound("an answer to another question"),
        }
        Ok(answer)
    }
}

/// What an answer is held against.
pub(super) enum Asked {
    Append { vote: Vote, prev: bool },
    Vote,
    Snapshot,
    Canvass,
}

impl Ask {
    pub(super) fn asked(&self) -> Asked {
        match self {
            Ask::Append(append) => Asked::Append { vote: append.vote, prev: append.prev_log_id.is_some() },
            Ask::Vote(_) => Asked::Vote,
            Ask::Snapshot { .. } => Asked::Snapshot,
            Ask::Canvass { .. } => Asked::Canvass,
        }
    }

    fn sound(&self) -> Result<(), &'static str> {
        match self {
            Ask::Append(append) => sound_append(append),
            Ask::Vote(ask) if ask.vote.committed => Err("a candidate that says it was elected"),
            Ask::Vote(ask) if !believable(&ask.vote) => Err("a term beyond belief"),
            Ask::Snapshot { vote, last, bytes, .. } => {
                let led = vote.committed && believable(vote) && last.leader_id <= vote.leader_id;
                let short = bytes.len() <= PLANE_SNAPSHOT_BYTES_MAX;
                if led && short { Ok(()) } else { Err("a snapshot that its sender cannot have") }
            }
            Ask::Vote(_) | Ask::Canvass { .. } => Ok(()),
        }
    }
}

fn sound_append(append: &Append) -> Result<(), &'static str> {
    if !append.vote.committed || !believable(&append.vote) {
        return Err("entries of who was not elected");
    }
    if append.entries.len() as u64 > PLANE_APPEND_ENTRIES_MAX {
        return Err("more entries than one request holds");
    }
    let mut before = append.prev_log_id;
    for entry in &append.entries {
        let follows = entry.log_id.index == before.map_or(0, |id| id.index + 1);
        if !follows || Some(entry.log_id) <= before || entry.log_id.leader_id > append.vote.leader_id {
            return Err("entries that do not follow each other");
        }
        before = Some(entry.log_id);
    }
    Ok(())
}

/// One more than a term must still be a term.
fn believable(vote: &Vote) -> bool {
    vote.leader_id.term <= PLANE_TERM_MAX
}

fn opened<'a, T: Deserialize<'a>>(kind: u16, bytes: &'a [u8]) -> Result<T, BadMessage> {
    let (version, payload) = codec::open(kind, bytes)?;
    if version != VERSION {
        return Err(BadMessage::Version(version));
    }
    Ok(codec::decode(payload, PLANE_MESSAGE_BYTES_MAX)?)
}
