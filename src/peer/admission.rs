//! How a node comes to a cluster that is there: it asks any member, saying who it is and where it is reached, and hears who the
//! members are and at which slots. Asked in place of a hello, before the node has begun anything. Whoever leads the control plane
//! decides; others say where it is. A node that is enlisted already hears the same again, at whichever address it is now.

use std::io::{Error as IoError, Result as IoResult};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hypermnesia_replication::Member;
use hypermnesia_store::codec;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::door::{say_frame, take_frame};
use super::handshake::{self, refuse};
use super::hello::Refused;
use crate::builder::Plan;
use crate::core::Core;
use crate::discovery::Discovery;
use crate::error::{Error, Result};
use crate::limits::{ADMISSION_BYTES_MAX, ADMISSION_WAIT_MAX, DIAL_WAIT_MAX, HELLO_WAIT_MAX, PEER_PROTOCOL};
use crate::tls::Tls;

/// How many looks without a leader make a member ask whether it is one.
const UNLED_LOOKS: u32 = 4;

/// Every such question and answer begins with it.
const MAGIC: [u8; 8] = *b"hypermjn";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asking {
    #[serde(deserialize_with = "codec::text")]
    pub(crate) cluster: String,
    #[serde(deserialize_with = "codec::text")]
    pub(crate) name: String,
    /// Where other members reach it.
    #[serde(deserialize_with = "codec::text")]
    pub(crate) address: String,
    /// The length of its leases.
    pub(crate) lease_ms: u64,
    /// It has been a member of the cluster with this id, and is not to be taken in anew.
    pub(crate) founded: Option<u128>,
}

/// What it hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Admission {
    /// It is a member.
    Welcome {
        /// The id of the cluster.
        founded: u128,
        /// All members, this one among them, at their slots.
        members: Vec<(usize, Member)>,
    },
    /// Somebody else decides, who is reached there.
    Ask(#[serde(deserialize_with = "codec::text")] String),
    /// Nobody can decide now.
    Later(#[serde(deserialize_with = "codec::text")] String),
    /// It was a member, and was removed.
    Removed,
    /// Never as things are.
    Refused(#[serde(deserialize_with = "codec::text")] String),
}

/// Whether this is such a question, and no hello.
pub(super) fn is_asking(payload: &[u8]) -> bool {
    payload.starts_with(&MAGIC)
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&PEER_PROTOCOL.to_le_bytes());
    codec::encode_into(value, &mut bytes);
    bytes
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, Refused> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or(Refused::Stranger)?;
    let (version, rest) = rest.split_at_checked(4).ok_or(Refused::Stranger)?;
    let version = u32::from_le_bytes(version.try_into().expect("four bytes were split off"));
    if version != PEER_PROTOCOL {
        return Err(Refused::Version(version));
    }
    codec::decode(rest, ADMISSION_BYTES_MAX).map_err(|error| Refused::Unreadable(error.to_string()))
}

impl Asking {
    /// Reads the question, if it is one of this version of the protocol.
    pub(super) fn decode(payload: &[u8]) -> std::result::Result<Asking, Refused> {
        decode(payload)
    }
}

impl Admission {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

/// Asks until it is a member, or for [`ADMISSION_WAIT_MAX`]. Blocks: nothing of the node has begun.
pub(crate) fn ask(plan: &Plan) -> Result<(u128, Vec<(usize, Member)>)> {
    let asked = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Config(format!("asking to join: {error}")))?;
        let asked = runtime.block_on(ask_all(plan));
        // The system's resolver may still be at a name that was given up: nobody waits for that.
        runtime.shutdown_background();
        asked
    };
    // A runtime of its own: this thread may be one of another.
    let asked = std::thread::scope(|scope| scope.spawn(asked).join());
    asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn ask_all(plan: &Plan) -> Result<(u128, Vec<(usize, Member)>)> {
    let asking = Asking {
        cluster: plan.cluster.clone(),
        name: plan.name.clone(),
        address: plan.own_address().to_owned(),
        lease_ms: plan.timing.lease_ms(),
        founded: None,
    };
    let end = Instant::now() + ADMISSION_WAIT_MAX;
    let mut discovery = Discovery::new(plan);
    loop {
        let found = discovery.look().await;
        let mut heard = found.troubles;
        if let Some(welcome) = ask_each(plan, &asking, &found.addresses, &mut heard).await? {
            return Ok(welcome);
        }
        let heard = heard.join("; ");
        if Instant::now() >= end {
            let name = &plan.name;
            return Err(Error::Config(format!(
                "{name} could not join: {heard}. Start it again once they answer"
            )));
        }
        tracing::info!(node = %plan.name, "waiting to join: {heard}");
        sleep(DIAL_WAIT_MAX).await;
    }
}

/// One round: asks one after the other until it is let in. A refusal counts at the end of it, and only when nobody says that it is to
/// wait: somebody else's member may have come to an address that is still in a record.
async fn ask_each(
    plan: &Plan,
    asking: &Asking,
    addresses: &[String],
    heard: &mut Vec<String>,
) -> Result<Option<(u128, Vec<(usize, Member)>)>> {
    let (mut refused, mut waits) = (None, false);
    for address in addresses {
        let said = match ask_there(plan.tls.as_ref(), asking, address).await {
            Ok(Admission::Welcome { founded, members }) => return Ok(Some((founded, members))),
            Ok(Admission::Removed) => return Err(Error::Removed { name: plan.name.clone() }),
            Ok(Admission::Refused(why)) => {
                let why = format!("{address} does not let {} join: {why}", plan.name);
                refused.get_or_insert_with(|| why.clone());
                why
            }
            Ok(Admission::Later(why)) => {
                waits = true;
                format!("{address}: {why}")
            }
            Ok(Admission::Ask(leader)) => {
                waits = true;
                format!("{address}: {leader} decides, and decides nothing")
            }
            Err(error) => format!("{address}: {error}"),
        };
        heard.push(said);
    }
    refused.filter(|_| !waits).map_or(Ok(None), |why| Err(Error::Config(why)))
}

/// Says where this member is reached until that is agreed on: those who dial it would not find it elsewhere, and tell it nothing.
/// When nobody leads it for long it asks whether it is a member at all: nobody speaks to one that was removed.
pub(super) async fn announce(core: Arc<Core>) {
    let mut unled = 0;
    while !core.is_closed() {
        sleep(DIAL_WAIT_MAX).await;
        let Some(control) = core.control() else { continue };
        let address = core.member_address(core.me.node);
        let known = control.register().enlisted(core.me.node).map(|one| one.address.clone());
        let is_new = core.founded().is_none() && core.replica.highest_epoch() == 0;
        unled = if control.is_led_now() { 0 } else { unled + 1 };
        if is_new || known.as_ref() == Some(&address) && unled < UNLED_LOOKS {
            continue;
        }
        let (cluster, name, founded) = (core.cluster.clone(), core.name.clone(), core.founded());
        let asking = Asking { cluster, name, address, lease_ms: core.membership.timing.lease_ms(), founded };
        for link in core.peers.links() {
            match ask_there(core.tls.as_ref(), &asking, &link.address()).await {
                Ok(Admission::Welcome { .. }) => break,
                Ok(Admission::Removed) => return core.fail(Error::Removed { name: core.name.clone() }),
                _ => {}
            }
        }
    }
}

/// Asks a member, and the one that it names as the one to ask.
async fn ask_there(tls: Option<&Tls>, asking: &Asking, address: &str) -> IoResult<Admission> {
    match ask_one(tls, asking, address).await? {
        Admission::Ask(leader) => ask_one(tls, asking, &leader).await,
        answer => Ok(answer),
    }
}

async fn ask_one(tls: Option<&Tls>, asking: &Asking, address: &str) -> IoResult<Admission> {
    let late = |_| IoError::other("no answer");
    let conversation = async {
        let socket = TcpStream::connect(address).await?;
        let (wire, mut rest) = handshake::dialled(tls, socket).await?;
        let mut bytes = BytesMut::new();
        say_frame(&wire, &mut bytes, &encode(asking)).await?;
        let payload = take_frame(&wire, &mut rest, ADMISSION_BYTES_MAX).await?;
        decode(&payload).map_err(refuse)
    };
    timeout(HELLO_WAIT_MAX + Duration::from_secs(2), conversation).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_way() {
        // Aim: what is asked is what is heard, and nothing else is taken for it. Method: there and back, each byte changed once.
        let asking = Asking {
            cluster: "c".into(),
            name: "n4".into(),
            address: "127.0.0.1:1".into(),
            lease_ms: 500,
            founded: Some(3),
        };
        let bytes = encode(&asking);
        assert!(is_asking(&bytes) && !is_asking(b"hypermne"));
        assert_eq!(Asking::decode(&bytes), Ok(asking));
        let mut newer = bytes.clone();
        newer[8] += 1;
        assert_eq!(Asking::decode(&newer), Err(Refused::Version(PEER_PROTOCOL + 1)));
        for length in 0..bytes.len() {
            assert!(Asking::decode(&bytes[..length]).is_err(), "{length}");
        }
        let member = |name: &str| Member {
            node: hypermnesia_store::NodeId::of_name(name),
            name: name.into(),
            address: "a:1".into(),
        };
        let welcome = Admission::Welcome { founded: 7, members: vec![(0, member("a")), (3, member("b"))] };
        assert_eq!(decode::<Admission>(&welcome.encode()), Ok(welcome));
    }
}
