//! Dialling, listening, and waiting for sockets, all on the I/O thread. What a socket has is cut into frames and handled in
//! place (see `reader`); what follows from all frames of one read is written once behind them.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use hypermnesia_replication::Peer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Link;
use super::admission::{self, Admission, Asking};
use super::frame;
use super::handshake::{self, in_words, is_tls, plain_word, refuse};
use super::hello::{HELLO_BYTES_MAX, Hello, Listener, Refused, fingerprint};
use super::reader::Reader;
use super::refusals::Refusals;
use super::strangers::Strangers;
use super::wire::Wire;
use crate::core::{Core, wall_ms};
use crate::life::spawn;
use crate::limits::{DIAL_WAIT_MAX, DIAL_WAIT_MIN, HELLO_WAIT_MAX, TICK, TLS_LOOK_EVERY};
use crate::tls::{self, Look};

/// Runs all connections and timers of a node until it is closed.
pub(crate) async fn run(core: Arc<Core>, listener: Option<TcpListener>) {
    if let Some(listener) = listener {
        spawn(&core, listen(Arc::clone(&core), listener));
    }
    spawn(&core, write_left(Arc::clone(&core)));
    spawn(&core, admission::announce(Arc::clone(&core)));
    if core.tls.is_some() {
        spawn(&core, look_at_certificates(Arc::clone(&core)));
    }
    core.peers.links().for_each(|link| attend(&core, link));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !core.is_closed() {
        ticks.tick().await;
        core.tick();
        look_after(&core, Instant::now());
    }
}

/// Sees to a link from now on.
pub(crate) fn attend(core: &Arc<Core>, link: &Arc<Link>) {
    spawn(core, write_rest(Arc::clone(core), Arc::clone(link)));
    // The lower id dials, so there is one connection per pair.
    if core.me.node < link.node {
        spawn(core, dial(Arc::clone(core), Arc::clone(link)));
    }
}

/// Heartbeats, silence, congestion.
fn look_after(core: &Core, now: Instant) {
    for link in core.peers.links() {
        link.keep_alive(now);
        link.drop_if_silent(now);
        if let Some(congested) = link.congestion_change() {
            core.replica.set_congested(link.node, congested);
        }
        if link.has_overflowed() {
            core.fail(crate::Error::Overloaded { what: "bytes that a member has not acknowledged" });
        }
    }
}

/// Writes what a full socket left over.
async fn write_rest(core: Arc<Core>, link: Arc<Link>) {
    while !core.is_closed() && !link.is_closed() {
        link.full.notified().await;
        while let Some(wire) = link.write_on() {
            if wire.writable().await.is_err() {
                break;
            }
        }
    }
}

/// Writes what other threads left to this one, behind whatever else it has to do at the moment.
async fn write_left(core: Arc<Core>) {
    while !core.is_closed() {
        core.peers.left().await;
        tokio::task::yield_now().await;
        core.peers.flush_all();
    }
}

async fn listen(core: Arc<Core>, listener: TcpListener) {
    let door = Arc::new(Door::default());
    while !core.is_closed() {
        let Ok((socket, from)) = listener.accept().await else {
            sleep(DIAL_WAIT_MIN).await;
            continue;
        };
        let place = door.strangers.enter(from);
        let (node, door) = (Arc::clone(&core), Arc::clone(&door));
        spawn(&core, async move {
            let core = node;
            let greeted = tokio::select! {
                greeted = timeout(HELLO_WAIT_MAX, greet(&core, &door, socket)) => greeted,
                () = place.shown_out() => return,
            };
            drop(place);
            match greeted {
                Ok(Ok(Some(met))) => read(&core, met).await,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => door.refusals.tell(&core, from, error.to_string()),
                Err(_) => door.refusals.tell(&core, from, "it did not say hello".to_owned()),
            }
        });
    }
}

/// What all that come have in common.
struct Door {
    strangers: Arc<Strangers>,
    refusals: Refusals,
    /// One, for steps of handshakes.
    turns: Semaphore,
}

impl Default for Door {
    fn default() -> Door {
        Door { strangers: Arc::default(), refusals: Refusals::default(), turns: Semaphore::new(1) }
    }
}

/// A connection on which both have said hello.
struct Met {
    link: Arc<Link>,
    wire: Arc<Wire>,
    peer: Peer,
    /// Its number at the link.
    connection: u64,
    /// What came behind the hello.
    rest: BytesMut,
}

/// Hears the hello of who dialled, and answers it. Nothing where it only had a question.
async fn greet(core: &Core, door: &Door, socket: TcpStream) -> IoResult<Option<Met>> {
    let (wire, mut rest) = handshake::accepted(core.tls.as_ref(), socket, &door.turns).await?;
    let payload = take_frame(&wire, &mut rest, HELLO_BYTES_MAX).await?;
    if admission::is_asking(&payload) {
        let asking = Asking::decode(&payload).map_err(refuse)?;
        vouch(core, &wire, &asking.name)?;
        return answer(core, &wire, asking).await.map(|()| None);
    }
    let hello = Hello::decode(&payload).map_err(refuse)?;
    let link = core.peers.link(hello.node).filter(|_| hello.node < core.me.node);
    let Some(link) = link.map(Arc::clone) else {
        return Err(refuse(unknown(core, &wire, &hello)));
    };
    vouch(core, &wire, &link.name)?;
    // Answered before it is judged: who is refused finds the same reason in our hello.
    say(core, &link, &wire).await?;
    check(core, &link, &hello)?;
    take_up(core, link, wire, &hello, rest).map(Some)
}

/// Why there is no place for who said this. A member that began a cluster of its own, while one is there that has it as a member, has
/// lost its memory: whatever it takes in would be lost to the others.
fn unknown(core: &Core, wire: &Wire, hello: &Hello) -> Refused {
    let same = hello.cluster == core.cluster && hello.to == core.me.node;
    let (Some(theirs), Some(ours)) = (hello.founded.filter(|_| same), core.founded()) else {
        return Refused::Member(hello.node);
    };
    let is_one_of_them = core.tls.is_none() || !wire.names().is_empty();
    if theirs != ours && core.members().count() == 1 && is_one_of_them {
        core.fail(crate::Error::Config(format!(
            "{:?} has begun a cluster of its own, and one of that name is there that has it as a member: start it with an empty data \
             directory and --join and the address of one of them",
            core.name
        )));
    }
    Refused::Member(hello.node)
}

/// Answers a node that asks to join.
async fn answer(core: &Core, wire: &Wire, asking: Asking) -> IoResult<()> {
    let admission = match core.control() {
        Some(control) => control.admit(core, asking).await,
        None => Admission::Later("this member is only starting".to_owned()),
    };
    say_frame(wire, &mut BytesMut::new(), &admission.encode()).await?;
    wire.part().await;
    Ok(())
}

async fn dial(core: Arc<Core>, link: Arc<Link>) {
    let mut wait = DIAL_WAIT_MIN;
    while !core.is_closed() && !link.is_closed() {
        match timeout(HELLO_WAIT_MAX, meet(&core, &link)).await {
            Ok(Ok(met)) => {
                wait = DIAL_WAIT_MIN;
                read(&core, met).await;
            }
            Ok(Err(error)) => {
                if error.get_ref().is_some_and(|inner| inner.is::<Refused>()) {
                    told(&core, &link, &error.to_string());
                }
                tracing::debug!(node = %core.name, member = %link.name, %error, "no connection")
            }
            Err(_) => tracing::debug!(node = %core.name, member = %link.name, "no answer"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(DIAL_WAIT_MAX);
    }
}

/// Dials, says hello and hears the answer.
async fn meet(core: &Core, link: &Arc<Link>) -> IoResult<Met> {
    let socket = TcpStream::connect(link.address()).await?;
    let (wire, mut rest) = handshake::dialled(core.tls.as_ref(), socket).await?;
    // Who refuses our certificate says so where its hello would be, also when it takes ours no more.
    let said = say(core, link, &wire).await;
    let hello = take_frame(&wire, &mut rest, HELLO_BYTES_MAX).await;
    let hello = Hello::decode(&hello?).map_err(refuse)?;
    said?;
    if hello.node != link.node {
        return Err(refuse(Refused::Member(hello.node)));
    }
    vouch(core, &wire, &link.name)?;
    check(core, link, &hello)?;
    take_up(core, Arc::clone(link), wire, &hello, rest)
}

/// Whether the certificate of the other end is that of the member that it says it is.
fn vouch(core: &Core, wire: &Wire, member: &str) -> IoResult<()> {
    let claims = tls::uri(&core.cluster, member);
    if core.tls.is_none() || wire.names().contains(&claims) {
        return Ok(());
    }
    Err(refuse(Refused::Another { certificate: wire.names().join(" and "), claims }))
}

/// Notes why there is no connection, and tells it when that is news.
fn told(core: &Core, link: &Link, why: &str) {
    if link.note_trouble(Some(why.to_owned())) {
        tracing::warn!(node = %core.name, member = %link.name, %why, "no connection");
    }
}

/// Judges a hello. A node that learns that it was replaced stops: others have agreed without it, and it would go on
/// showing what was true before.
fn check(core: &Core, link: &Link, hello: &Hello) -> IoResult<()> {
    let here = Listener {
        cluster: &core.cluster,
        founded: core.founded(),
        members: fingerprint(core.members()),
        lease_ms: core.membership.timing.lease_ms(),
        me: core.me,
        wall_ms: wall_ms(),
    };
    let Err(why) = hello.check(&here) else { return Ok(()) };
    told(core, link, &why.to_string());
    if why == Refused::Replaced {
        core.fail(crate::Error::Replaced { name: core.name.clone() });
    }
    Err(refuse(why))
}

fn take_up(core: &Core, link: Arc<Link>, wire: Wire, hello: &Hello, rest: BytesMut) -> IoResult<Met> {
    let wire = Arc::new(wire);
    let known = hello.known.filter(|(life, _)| *life == core.me.incarnation);
    let taken = known.map_or(0, |(_, taken)| taken);
    let connection = link.connect(Arc::clone(&wire), hello.incarnation, taken).map_err(refuse)?;
    let peer = Peer { node: hello.node, incarnation: hello.incarnation };
    tracing::info!(node = %core.name, member = %link.name, incarnation = %peer.incarnation, "connected");
    link.note_trouble(None);
    core.on_connected(peer);
    link.flush();
    Ok(Met { link, wire, peer, connection, rest })
}

async fn say(core: &Core, link: &Link, wire: &Wire) -> IoResult<()> {
    let hello = Hello {
        cluster: core.cluster.clone(),
        founded: core.founded(),
        members: fingerprint(core.members()),
        lease_ms: core.membership.timing.lease_ms(),
        node: core.me.node,
        incarnation: core.me.incarnation,
        to: link.node,
        known: link.known(),
    };
    say_frame(wire, &mut BytesMut::new(), &hello.encode()).await
}

/// Says something in a frame of its own, before there is a stream.
pub(super) async fn say_frame(wire: &Wire, bytes: &mut BytesMut, payload: &[u8]) -> IoResult<()> {
    frame::put(bytes, 0, 0, payload);
    // With nothing left of it, once more: for what TLS still holds.
    loop {
        match wire.write(bytes) {
            Ok(0) if bytes.is_empty() => return Ok(()),
            Ok(written) => bytes.advance(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => wire.writable().await?,
            Err(error) => return Err(error),
        }
    }
}

/// Reads until there is the first frame, and no more than a hello has. What came behind it is left in `bytes`.
pub(super) async fn take_frame(wire: &Wire, bytes: &mut BytesMut, most: usize) -> IoResult<Bytes> {
    loop {
        if !wire.is_sealed() && is_tls(bytes) {
            // Who speaks TLS sees by this that we do not.
            drop(wire.write(&plain_word()));
            wire.part().await;
            return Err(refuse(Refused::SpeaksTls));
        }
        if let [a, b, c, d, ..] = **bytes
            && u32::from_le_bytes([a, b, c, d]) as usize > most
        {
            return Err(refuse(Refused::Stranger));
        }
        if let Some(frame) = frame::cut(bytes).map_err(|_| refuse(Refused::Stranger))? {
            return Ok(frame.payload);
        }
        wire.readable().await?;
        match wire.sip(bytes).map_err(in_words) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}

/// Reads until the connection ends, for whatever reason, and says so.
async fn read(core: &Arc<Core>, met: Met) {
    let Met { link, wire, peer, connection, rest } = met;
    let begun = link.begin_reading(core, Reader::new(Arc::clone(&wire), peer, connection, rest));
    let why = match begun {
        Ok(()) => read_on(core, &link, &wire, connection).await,
        Err(error) => error,
    };
    let why = in_words(why);
    if link.disconnect(connection) && !core.is_closed() {
        tracing::info!(node = %core.name, member = %link.name, %why, "disconnected");
        core.on_disconnected(peer);
    }
}

async fn read_on(core: &Core, link: &Link, wire: &Wire, connection: u64) -> IoError {
    loop {
        let ended = link.ended.notified();
        if !link.is_present(connection) {
            return IoError::other("it was replaced or closed");
        }
        let ready = tokio::select! {
            ready = wire.readable() => ready,
            () = ended => continue,
        };
        match ready.and_then(|()| link.read(core, connection)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return error,
        }
    }
}

/// Looks at the files of this member's certificates now and then. On a thread beside this one: a disc may hang.
async fn look_at_certificates(core: Arc<Core>) {
    while !core.is_closed() {
        sleep(TLS_LOOK_EVERY).await;
        let node = Arc::clone(&core);
        let look = move || node.tls.as_ref().map_or(Look::Same, |tls| tls.look(SystemTime::now()));
        let Ok(found) = tokio::task::spawn_blocking(look).await else { continue };
        match found {
            Look::Same => {}
            Look::Taken(warnings) => {
                tracing::info!(node = %core.name, "new certificates are used for new connections");
                warnings.iter().for_each(|warning| tracing::warn!(node = %core.name, "{warning}"));
            }
            Look::Refused(why) => {
                tracing::warn!(node = %core.name, %why, "new certificates cannot be used, the former ones stay in use");
            }
            Look::Ends(what) => tracing::warn!(node = %core.name, "{what}"),
        }
    }
}
