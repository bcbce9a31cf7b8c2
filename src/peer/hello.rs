//! The first thing either end of a peer connection says: who it is, in which life, in which cluster, in which version of
//! the protocol, and where the stream goes on. The layout of the beginning never changes, so that a later version is told
//! apart from a stranger.

use hypermnesia_replication::{Member, Peer};
use hypermnesia_store::{Incarnation, NodeId, codec};
use serde::{Deserialize, Serialize};

use crate::limits::{LIFE_AHEAD_MS_MAX, PEER_PROTOCOL};

/// Every hello begins with it.
const MAGIC: [u8; 8] = *b"hypermne";

/// Longest hello, in bytes.
pub(crate) const HELLO_BYTES_MAX: usize = 4096;

/// See the file's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    #[serde(deserialize_with = "codec::text")]
    pub(crate) cluster: String,
    /// The id of the cluster, from when it is founded.
    pub(crate) founded: Option<u128>,
    /// What the sender takes for the members, as a number: see [`fingerprint`].
    pub(crate) members: (u32, u32),
    /// The length of its leases: a leader counts how long another one's may last by its own.
    pub(crate) lease_ms: u64,
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
    #[error(
        "it speaks TLS, and this member was started without: start this one with --tls-ca, --tls-cert and --tls-key, or all \
         without"
    )]
    SpeaksTls,
    #[error(
        "it does not speak TLS, and this member was started with it: start that one with --tls-ca, --tls-cert and --tls-key, \
         or all without"
    )]
    SpeaksPlain,
    #[error("{0}")]
    Tls(String),
    #[error("its certificate is for {certificate}, and it says that it is {claims}")]
    Another { certificate: String, claims: String },
    #[error("it belongs to cluster {0:?}")]
    Cluster(String),
    #[error("it belongs to another cluster of the same name, with the id {0:032x}")]
    Founded(u128),
    #[error("it calls itself {0}, who is not a member we expect here")]
    Member(NodeId),
    #[error("it means to speak to {0}")]
    NotMe(NodeId),
    #[error("it is an older life of that member than the one we know")]
    Older,
    #[error(
        "its list of members is another than ours ({theirs} against {ours} members): start all with the same --members, or one \
         that comes to a cluster that is there with --join and the address of a member"
    )]
    Members { theirs: u32, ours: u32 },
    #[error(
        "its leases last {theirs} ms and ours {ours} ms, and a cluster has one length for all: start all members with the same --lease"
    )]
    Lease { theirs: u64, ours: u64 },
    #[error("its clock is {0} ms ahead of ours: set the clocks right")]
    Ahead(u64),
    #[error(
        "a newer process with the name of this member has taken its place: stop that one, or this one; if there is none, \
         the clock of this machine was set back"
    )]
    Replaced,
}

/// The members as a number that differs when the lists do, and how many they are.
pub(crate) fn fingerprint<'a>(members: impl Iterator<Item = &'a Member>) -> (u32, u32) {
    let mut sum = crc32fast::Hasher::new();
    let mut members: Vec<&Member> = members.collect();
    members.sort_by_key(|member| member.node);
    for member in &members {
        sum.update(&member.node.0.to_le_bytes());
        sum.update(member.name.as_bytes());
        sum.update(&[0]);
    }
    (sum.finalize(), members.len() as u32)
}

/// Who hears a hello.
#[derive(Clone, Copy)]
pub(crate) struct Listener<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) founded: Option<u128>,
    pub(crate) members: (u32, u32),
    pub(crate) lease_ms: u64,
    pub(crate) me: Peer,
    pub(crate) wall_ms: u64,
}

impl Hello {
    /// As the payload of a frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&PEER_PROTOCOL.to_le_bytes());
        codec::encode_into(self, &mut bytes);
        bytes
    }

    /// Reads it, if it is one of this version of the protocol.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Hello, Refused> {
        let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or(Refused::Stranger)?;
        let (version, rest) = rest.split_at_checked(4).ok_or(Refused::Stranger)?;
        if magic != MAGIC {
            return Err(Refused::Stranger);
        }
        let version = u32::from_le_bytes(version.try_into().expect("four bytes were split off"));
        if version != PEER_PROTOCOL {
            return Err(Refused::Version(version));
        }
        codec::decode(rest, HELLO_BYTES_MAX).map_err(|error| Refused::Unreadable(error.to_string()))
    }

    /// Whether its sender may be spoken to.
    pub(crate) fn check(&self, here: &Listener<'_>) -> Result<(), Refused> {
        if self.cluster != here.cluster {
            return Err(Refused::Cluster(self.cluster.clone()));
        }
        if self.to != here.me.node {
            return Err(Refused::NotMe(self.to));
        }
        match (self.founded, here.founded) {
            (Some(theirs), Some(ours)) if theirs != ours => return Err(Refused::Founded(theirs)),
            // Members come and go: who was away, or is new, hears of it from the control plane.
            (Some(_), Some(_)) => {}
            _ if self.members != here.members => {
                return Err(Refused::Members { theirs: self.members.1, ours: here.members.1 });
            }
            _ => {}
        }
        if self.lease_ms != here.lease_ms {
            return Err(Refused::Lease { theirs: self.lease_ms, ours: here.lease_ms });
        }
        let ahead_ms = self.incarnation.0.saturating_sub(here.wall_ms);
        if ahead_ms > LIFE_AHEAD_MS_MAX {
            return Err(Refused::Ahead(ahead_ms));
        }
        if self.known.is_some_and(|(life, _)| life > here.me.incarnation) {
            return Err(Refused::Replaced);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_refused_by_what_is_wrong() {
        // Aim: who is wrong in any way never gets to the stream, and it is said in which. Method: one wrong thing at a time.
        let (a, b) = (NodeId::of_name("a"), NodeId::of_name("b"));
        let member =
            |name: &str| Member { node: NodeId::of_name(name), name: name.into(), address: String::new() };
        let named =
            |names: &[&str]| fingerprint(names.iter().map(|name| member(name)).collect::<Vec<_>>().iter());
        let members = named(&["a", "b"]);
        let hello = Hello {
            cluster: "c".into(),
            founded: None,
            members,
            lease_ms: 500,
            node: a,
            incarnation: Incarnation(3),
            to: b,
            known: Some((Incarnation(2), 9)),
        };
        let bytes = hello.encode();
        assert_eq!(Hello::decode(&bytes).as_ref(), Ok(&hello));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1"), Err(Refused::Stranger));
        let mut newer = bytes.clone();
        newer[8] += 1;
        assert_eq!(Hello::decode(&newer), Err(Refused::Version(PEER_PROTOCOL + 1)));
        assert!(matches!(Hello::decode(&bytes[..bytes.len() - 1]), Err(Refused::Unreadable(_))));
        let me = |node, life| Peer { node, incarnation: Incarnation(life) };
        let right =
            Listener { cluster: "c", founded: None, members, lease_ms: 500, me: me(b, 2), wall_ms: 0 };
        assert_eq!(hello.check(&right), Ok(()));
        assert_eq!(hello.check(&Listener { cluster: "d", ..right }), Err(Refused::Cluster("c".into())));
        assert_eq!(hello.check(&Listener { me: me(a, 2), ..right }), Err(Refused::NotMe(b)));
        let three = named(&["a", "b", "c"]);
        let other = Err(Refused::Members { theirs: 2, ours: 3 });
        assert_eq!(hello.check(&Listener { members: three, ..right }), other);
        // Of a cluster that was founded it is the id that counts, where both know it: members come and go.
        let known = Hello { founded: Some(7), ..hello.clone() };
        assert_eq!(known.check(&Listener { founded: Some(7), members: three, ..right }), Ok(()));
        assert_eq!(known.check(&Listener { founded: Some(8), ..right }), Err(Refused::Founded(7)));
        assert_eq!(known.check(&right), Ok(()));
        assert_eq!(known.check(&Listener { members: three, ..right }), other);
        let longer = hello.check(&Listener { lease_ms: 501, ..right });
        assert_eq!(longer, Err(Refused::Lease { theirs: 500, ours: 501 }));
        assert_eq!(hello.check(&Listener { me: me(b, 1), ..right }), Err(Refused::Replaced));
        let far = Hello { incarnation: Incarnation(u64::MAX), ..hello };
        assert_eq!(far.check(&right), Err(Refused::Ahead(u64::MAX)));
    }
}
