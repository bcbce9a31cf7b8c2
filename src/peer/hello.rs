//! The first thing either end of a peer connection says: who it is, in which life, in which cluster, in which version of
//! the protocol, and where the stream goes on. The layout of the beginning never changes, so that a later version is told
//! apart from a stranger.

use hypermnesia_store::{Incarnation, NodeId, codec};
use serde::{Deserialize, Serialize};

use crate::limits::PEER_PROTOCOL;

/// Every hello begins with it.
const MAGIC: [u8; 8] = *b"hypermne";

/// Longest hello, in bytes.
pub(crate) const HELLO_BYTES_MAX: usize = 4096;

/// See the file's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster: String,
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    /// Whom the sender means to speak to.
    pub(crate) to: NodeId,
    /// The life of the receiver that the sender last knew, and the last number it took from that life's stream.
    pub(crate) known: Option<(Incarnation, u64)>,
}

/// Why a connection is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it does not speak the peer protocol")]
    Stranger,
    #[error("it speaks version {0} of the peer protocol, we speak {PEER_PROTOCOL}")]
    Version(u32),
    #[error("its hello cannot be read: {0}")]
    Unreadable(String),
    #[error("it belongs to cluster {0:?}")]
    Cluster(String),
    #[error("it calls itself {0}, who is not a member we expect here")]
    Member(NodeId),
    #[error("it means to speak to {0}")]
    NotMe(NodeId),
    #[error("it is an older life of that member than the one we know")]
    Older,
}

impl Hello {
    /// As the payload of a frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&PEER_PROTOCOL.to_le_bytes());
        codec::encode_into(self, &mut bytes);
        bytes
    }

    /// Reads and checks version and cluster.
    pub(crate) fn decode(bytes: &[u8], cluster: &str, me: NodeId) -> Result<Hello, Refused> {
        let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or(Refused::Stranger)?;
        let (version, rest) = rest.split_at_checked(4).ok_or(Refused::Stranger)?;
        if magic != MAGIC {
            return Err(Refused::Stranger);
        }
        let version = u32::from_le_bytes(version.try_into().expect("four bytes were split off"));
        if version != PEER_PROTOCOL {
            return Err(Refused::Version(version));
        }
        let hello: Hello =
            codec::decode(rest, HELLO_BYTES_MAX).map_err(|error| Refused::Unreadable(error.to_string()))?;
        if hello.cluster != cluster {
            return Err(Refused::Cluster(hello.cluster));
        }
        if hello.to != me {
            return Err(Refused::NotMe(hello.to));
        }
        Ok(hello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_refused_by_what_is_wrong() {
        // Aim: a wrong cluster, version or member never gets to the stream. Method: one wrong thing at a time.
        let (a, b) = (NodeId::of_name("a"), NodeId::of_name("b"));
        let hello = Hello {
            cluster: "c".into(),
            node: a,
            incarnation: Incarnation(3),
            to: b,
            known: Some((Incarnation(2), 9)),
        };
        let bytes = hello.encode();
        assert_eq!(Hello::decode(&bytes, "c", b), Ok(hello));
        assert_eq!(Hello::decode(&bytes, "d", b), Err(Refused::Cluster("c".into())));
        assert_eq!(Hello::decode(&bytes, "c", a), Err(Refused::NotMe(b)));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1", "c", b), Err(Refused::Stranger));
        let mut newer = bytes.clone();
        newer[8] += 1;
        assert_eq!(Hello::decode(&newer, "c", b), Err(Refused::Version(PEER_PROTOCOL + 1)));
        assert!(matches!(Hello::decode(&bytes[..bytes.len() - 1], "c", b), Err(Refused::Unreadable(_))));
    }
}
