//! Three members with TLS: they work as without, their files may change, and strangers at their doors change nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hypermnesia::{Error, Node, NodeId, TableDef, Type, Value, member_uri};
use socket2::{Domain, Socket};
use tempfile::TempDir;

use crate::certificates::{Authority, Files};
use crate::loopback::free_ports;
use crate::trio::LONG;
use crate::until::until;
use crate::warnings;

/// A cluster with an authority of its own. Members by their ids: each dials those behind it.
struct Sealed {
    authority: Authority,
    homes: Vec<TempDir>,
    cluster: String,
    members: Vec<(String, String)>,
    nodes: Vec<Option<Node>>,
}

impl Sealed {
    fn start(cluster: &str) -> Sealed {
        warnings::listen();
        let listeners = free_ports(3);
        let mut names = [1, 2, 3].map(|number| format!("{cluster}-{number}"));
        names.sort_by_key(|name| NodeId::of_name(name));
        let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
        let members = names.into_iter().enumerate().map(|(at, name)| (name, address(at))).collect();
        let mut sealed = Sealed {
            authority: Authority::new(cluster),
            homes: (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect(),
            cluster: cluster.to_owned(),
            members,
            nodes: Vec::new(),
        };
        for (at, listener) in listeners.into_iter().enumerate() {
            sealed.issue(at);
            let node = sealed.builder(at).peer_listener(listener).build().expect("a good configuration");
            sealed.nodes.push(Some(node));
        }
        sealed.settle();
        sealed
    }

    /// Gives a member new files in the place of its former ones.
    fn issue(&self, at: usize) -> Files {
        self.authority.member(self.homes[at].path(), "own", &self.uri(at))
    }

    fn uri(&self, at: usize) -> String {
        member_uri(&self.cluster, &self.members[at].0)
    }

    fn builder(&self, at: usize) -> hypermnesia::NodeBuilder {
        let own = |kind: &str| self.homes[at].path().join(format!("own.{kind}"));
        let builder = Node::builder().name(&self.members[at].0).cluster(&self.cluster);
        builder.members(self.members.clone()).tls(own("ca"), own("crt"), own("key"))
    }

    fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("it is up")
    }

    fn restart(&mut self, at: usize) {
        self.nodes[at] = None;
        self.nodes[at] = Some(self.builder(at).build().expect("its port is free again"));
    }

    fn settle(&self) {
        self.nodes.iter().flatten().for_each(|node| node.wait_for_members(LONG).expect("the members meet"));
    }

    /// A member's warning, as soon as it is there.
    fn warned(&self, at: usize, words: &str) {
        until(|| warnings::of(&self.members[at].0).iter().any(|line| line.contains(words)));
    }

    /// Writes on one member, and reads on all.
    fn write(&self, at: usize, id: i64) {
        let table = self.node(at).open_table(numbers()).expect("all are up");
        table.insert(&[id.into(), SECRET.into()]).expect("written");
        for node in self.nodes.iter().flatten() {
            let there = node.dyn_table("numbers").expect("created").get(&[id.into()]).expect("read");
            assert_eq!(there, Some(vec![Value::Int(id), SECRET.into()]));
        }
    }

    fn address(&self, at: usize) -> SocketAddr {
        self.members[at].1.parse().expect("an address")
    }
}

/// Stands in every row.
const SECRET: &str = "nobody on the way may read this";

fn numbers() -> hypermnesia::TableBuilder {
    TableDef::builder("numbers").attribute("id", Type::Int).attribute("text", Type::Text)
}

#[test]
fn members_with_tls_commit_and_come_back() {
    // Aim: a cluster with TLS is a cluster. Method: writes on each member, read on all; each is restarted in turn, once while
    // another one writes much.
    let mut sealed = Sealed::start("whole");
    (0..3).for_each(|at| sealed.write(at, at as i64));
    for at in 0..3 {
        sealed.restart(at);
        sealed.settle();
        sealed.write(at, 10 + at as i64);
    }
    let table = sealed.node(0).dyn_table("numbers").expect("created");
    let long = "x".repeat(1 << 20);
    (100..120).for_each(|id| table.insert(&[Value::Int(id), long.as_str().into()]).expect("written"));
    sealed.restart(2);
    sealed.settle();
    assert_eq!(sealed.node(2).dyn_table("numbers").expect("created").len(), Ok(26));
}

#[test]
fn two_processes_of_one_member() {
    // Aim: with one certificate there is one member, the newer process. Method: a second one with the same files, of the member
    // that dials the others; the first one must stop by itself, and says why.
    let sealed = Sealed::start("twice");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let second = sealed.builder(0).peer_listener(socket).build().expect("good files");
    until(|| matches!(sealed.node(0).snapshot().map(drop), Err(Error::Replaced { .. })));
    second.wait_for_members(LONG).expect("it is one of them now");
}

#[test]
fn certificates_are_taken_anew_without_a_restart() {
    // Aim: new files are used for new connections, wrong ones change nothing and are told. Method: damage the files of one that
    // runs: others still reach it. Then give all a new authority, and restart one member, which knows nothing of the old one;
    // with its former files it is refused.
    let mut sealed = Sealed::start("anew");
    let cert = sealed.homes[2].path().join("own.crt");
    std::fs::write(&cert, "nothing").expect("written");
    sealed.warned(2, "new certificates cannot be used");
    sealed.warned(2, "own.crt");
    sealed.restart(0);
    sealed.settle();
    let former = Authority::new("another");
    let former = std::mem::replace(&mut sealed.authority, former);
    (0..3).for_each(|at| drop(sealed.issue(at)));
    sealed.restart(0);
    sealed.settle();
    sealed.write(0, 1);
    let files = former.member(sealed.homes[0].path(), "old", &sealed.uri(0));
    let old = sealed.builder(0).tls(files.ca, files.cert, files.key);
    sealed.nodes[0] = None;
    sealed.nodes[0] = Some(old.build().expect("they fit together"));
    sealed.warned(0, "was not issued by an authority in our --tls-ca file");
    sealed.warned(1, "our certificate was not issued by an authority in its --tls-ca file");
    assert!(!sealed.node(0).is_ready());
}

/// Hands on what comes to where it should go, and keeps what those who dialled sent.
struct Recorder {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<u8>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Recorder {
    /// Its threads end with the sockets, the one that listens with the process.
    fn before(to: SocketAddr) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let recorder = Recorder { address, kept: Arc::default(), open: Arc::default() };
        let (kept, open) = (Arc::clone(&recorder.kept), Arc::clone(&recorder.open));
        std::thread::spawn(move || {
            while let (Ok((from, _)), Ok(on)) = (listener.accept(), TcpStream::connect(to)) {
                let copy = |socket: &TcpStream| socket.try_clone().expect("open");
                open.lock().expect("nobody fails with it").extend([copy(&from), copy(&on)]);
                let (kept, back) = (Arc::clone(&kept), (copy(&on), copy(&from)));
                std::thread::spawn(move || hand_on(back, None));
                std::thread::spawn(move || hand_on((from, on), Some(&kept)));
            }
        });
        recorder
    }

    fn kept(&self) -> Vec<u8> {
        self.kept.lock().expect("nobody fails with it").clone()
    }

    /// Ends all connections by way of it.
    fn cut(&self) {
        let mut open = self.open.lock().expect("nobody fails with it");
        open.drain(..).for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
    }
}

fn hand_on((mut from, mut to): (TcpStream, TcpStream), kept: Option<&Mutex<Vec<u8>>>) {
    let mut bytes = [0; 4096];
    while let Ok(taken @ 1..) = from.read(&mut bytes) {
        if let Some(kept) = kept {
            kept.lock().expect("nobody fails with it").extend_from_slice(&bytes[..taken]);
        }
        if to.write_all(&bytes[..taken]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}

/// Sends bytes and reads until the other end has closed. An error when it closes in a way that takes back what it said.
fn send(to: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(to)?;
    socket.write_all(bytes)?;
    socket.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).map(|_| answer)
}

#[test]
fn a_recording_and_rubbish_are_refused() {
    // Aim: nobody on the way reads anything, or gains anything from what passed; rubbish is closed and costs nobody anything.
    // Method: a connection between two members goes by way of a recorder, rows are written; the recording has none of their
    // text and is sent again, whole, cut and changed, while the members go on in their epoch; then bytes at random. The
    // connection is cut, and comes back.
    let mut sealed = Sealed::start("recorded");
    let recorder = Recorder::before(sealed.address(1));
    sealed.nodes[0] = None;
    let mut members = sealed.members.clone();
    members[1].1 = recorder.address.to_string();
    let straight = std::mem::replace(&mut sealed.members, members);
    sealed.restart(0);
    sealed.members = straight;
    sealed.settle();
    (0..20).for_each(|id| sealed.write(0, id));
    let kept = recorder.kept();
    assert!(kept.len() > 20 * SECRET.len());
    assert!(!kept.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "it can be read on the way");
    let epoch = sealed.node(1).status().epoch;
    let to = sealed.address(1);
    drop(send(to, &kept));
    sealed.warned(1, "a recording of another connection");
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..40 {
        let mut changed = kept[..random.usize(1..kept.len())].to_vec();
        let at = random.usize(..changed.len().min(2_000));
        changed[at] ^= 1 << random.u8(..8);
        drop(send(to, &changed));
        let mut rubbish: Vec<u8> = (0..random.usize(1..5_000)).map(|_| random.u8(..)).collect();
        drop(send(to, &rubbish));
        // As the beginning of a handshake, which is longer than any is.
        rubbish.splice(..0, [22, 3, 1, 0x40, 0]);
        drop(send(to, &rubbish));
    }
    let posted = [b"POST / HTTP/1.1\r\n\r\n".to_vec(), vec![b'x'; 20_000]].concat();
    let answer = send(to, &posted).expect("it is told before the connection ends");
    assert_eq!(answer.first(), Some(&21), "an alert of TLS: {answer:?}");
    sealed.warned(1, "it does not speak TLS");
    sealed.write(1, 100);
    let before = recorder.kept().len();
    recorder.cut();
    until(|| recorder.kept().len() > before);
    // Refused as long as it is not back.
    let table = sealed.node(0).dyn_table("numbers").expect("created");
    until(|| table.insert(&[Value::Int(101), SECRET.into()]).is_ok());
    assert_eq!(sealed.node(1).status().epoch, epoch, "no member was lost by it");
}

/// Keeps connecting to these addresses from one that no member has, says nothing and stays as long as it may, until it is told
/// to stop.
fn flood(to: &[SocketAddr], stop: &AtomicBool) -> usize {
    let mut open: Vec<Socket> = Vec::new();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        for address in to {
            let socket = Socket::new(Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).expect("a free port");
            // A full queue refuses.
            if socket.connect(&(*address).into()).is_ok() && socket.set_nonblocking(true).is_ok() {
                open.push(socket);
                count += 1;
            }
        }
        // An end or an error: it was closed.
        let stays = |socket: &Socket| {
            (&*socket).read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        open.retain(stays);
    }
    count
}

#[test]
fn a_flood_of_silent_connections_keeps_no_member_out() {
    // Aim: who says nothing takes no place that a member needs. Method: connections that come as fast as they can and say
    // nothing, many more than there are places, at two members; the third one, which dials both, comes back meanwhile.
    let mut sealed = Sealed::start("flooded");
    let to = [sealed.address(1), sealed.address(2)];
    sealed.nodes[0] = None;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&to, &stop));
        // Dropped when an assertion fails, so that the flood ends with it.
        let _stop = Stop(&stop);
        std::thread::sleep(std::time::Duration::from_millis(200));
        sealed.restart(0);
        sealed.settle();
        sealed.write(0, 1);
        stop.store(true, Ordering::Relaxed);
        let count = flood.join().expect("it was told to stop");
        assert!(count > 2 * 2 * hypermnesia::limits::STRANGERS_MAX, "only {count} connections");
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
