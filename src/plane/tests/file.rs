//! The file itself, on a real disc: whose it is, and what is said when it is not what it should be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::codec;
use hypermnesia_store::disc::{Backend, Disc, Fault, FaultKind, MemDisc, RealDisc};
use openraft::Vote;
use redb::{Database, TableDefinition};

use super::simulation::{ELECTION_MAX, ELECTION_MIN, HEARTBEAT, voter};
use crate::limits::{PLANE_LOG_ENTRIES, PLANE_SNAPSHOT_BYTES_MAX};
use crate::plane::error::StoreError;
use crate::plane::store::{FILE_NAME, Store};
use crate::plane::{
    Config, Machine, OpenError, Place, Plane, ProposeError, RaftId, Reply, Unreachable, Voter, Wire,
};

fn open(directory: &Path, cluster: &str) -> Result<Store, OpenError> {
    Store::open(&RealDisc::open(directory).expect("a directory can be made"), cluster, RaftId(7))
}

/// A directory with the file of a voter that has voted.
fn made() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut store = open(directory.path(), "c").expect("it is new");
    store.save_vote(Vote::new(5, RaftId(7))).expect("it is whole");
    directory
}

#[test]
fn a_file_is_opened_by_whom_it_belongs_to() {
    // Aim: id and vote stay; anybody else is refused by name. Method: one of each kind.
    let directory = made();
    let store =
        Store::open(&RealDisc::open(directory.path()).expect("there"), "c", RaftId(8)).expect("it is whole");
    assert_eq!((store.raft(), store.vote()), (RaftId(7), Ok(Some(Vote::new(5, RaftId(7))))));
    drop(store);
    assert!(
        matches!(open(directory.path(), "d"), Err(OpenError::OtherCluster { found, .. }) if found == "c")
    );

    let file = directory.path().join(FILE_NAME);
    let write = |table: &str, name: &str, value: &[u8]| {
        let disc = RealDisc::open(directory.path()).expect("there");
        let below = match disc.open(FILE_NAME) {
            Ok(file) => Backend::find(file),
            Err(_) => Backend::make(disc.create(FILE_NAME).expect("it can be made")),
        };
        let database = Database::builder().create_with_backend(below.expect("it is whole"));
        let database = database.expect("redb opens what redb made");
        let mut transaction = database.begin_write().expect("it does");
        transaction.set_quick_repair(true);
        let table: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(table);
        transaction.open_table(table).expect("it does").insert(name, value).expect("it does");
        transaction.commit().expect("it does");
    };
    write("facts", "whose", &codec::seal(23, 2, &[]));
    assert!(matches!(open(directory.path(), "c"), Err(OpenError::Version { found: 2, known: 1, .. })));
    fs::remove_file(&file).expect("it is there");
    write("rows", "a", b"b");
    assert!(matches!(open(directory.path(), "c"), Err(OpenError::Foreign { .. })));
    for text in [&b""[..], b"no database", &[0; 1 << 16]] {
        fs::write(&file, text).expect("it can be written");
        let wrong = open(directory.path(), "c").err().expect("it is none").to_string();
        assert!(wrong.contains(FILE_NAME) && wrong.contains("new voter"), "{wrong}");
    }
}

#[test]
fn damage_is_told_and_never_forgets_a_vote() {
    // Aim: whatever happens to the bytes, the file is refused or says what it said before; above all it does not go back to an older
    // vote. Method: a file as a killed process leaves it and one that was closed, cut short and with bytes changed in many places.
    // Found with it: commits of one phase.
    let disc = MemDisc::new();
    let mut store = Store::open(&disc, "c", RaftId(7)).expect("it is new");
    for term in 1..6 {
        store.save_vote(Vote::new(term, RaftId(7))).expect("it is whole");
    }
    let killed = disc.bytes(FILE_NAME).expect("it is there");
    drop(store);
    let closed = disc.bytes(FILE_NAME).expect("it is there");
    let vote = Some(Vote::new(5, RaftId(7)));
    let mut refused = 0;
    for bytes in [killed, closed] {
        let used: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let changed = used.iter().step_by(used.len() / 150 + 1).map(|at| {
            let mut bytes = bytes.clone();
            bytes[*at] ^= 0x5a;
            bytes
        });
        let cut = (0..16).map(|part| bytes[..bytes.len() * part / 16].to_vec());
        for bytes in changed.chain(cut) {
            let disc = MemDisc::new();
            disc.overwrite(FILE_NAME, bytes);
            match Store::open(&disc, "c", RaftId(8)) {
                Ok(store) => assert_eq!((store.vote(), store.raft()), (Ok(vote), RaftId(7))),
                Err(OpenError::Damaged { .. } | OpenError::Foreign { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(refused > 32, "only {refused} were found");
}

#[test]
fn after_an_error_nothing_is_said_any_more() {
    // Aim: an unknown outcome stays one until the file is opened again. Method: one failing write; then a read and a write on a
    // disc that is well.
    let disc = MemDisc::new();
    let mut store = Store::open(&disc, "c", RaftId(7)).expect("it is new");
    disc.set_fault(Some(Fault { at: disc.operations() + 2, kind: FaultKind::ErrorOnce }));
    let unknown = store.save_vote(Vote::new(5, RaftId(7)));
    assert!(matches!(unknown, Err(StoreError::Unknown { .. })), "{unknown:?}");
    assert!(store.vote().is_err() && store.save_vote(Vote::new(6, RaftId(7))).is_err());
}

/// Adds up; takes only its own snapshots, which become too long when it is told so.
struct Sum(u64);

/// The command for that.
const TOO_MUCH: u64 = 1000;

impl Machine for Sum {
    fn apply(&mut self, _: u64, command: &[u8]) -> Vec<u8> {
        self.0 += command.len() as u64;
        self.0.to_le_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        if self.0 < TOO_MUCH { self.0.to_le_bytes().to_vec() } else { vec![0; PLANE_SNAPSHOT_BYTES_MAX + 1] }
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.0 = u64::from_le_bytes(snapshot.try_into().map_err(|_| "it is no number".to_owned())?);
        Ok(())
    }
}

struct Nobody;

impl Wire for Nobody {
    fn send(&self, _: RaftId, voter: &Voter, _: Vec<u8>) -> Reply {
        let name = voter.name.clone();
        Box::pin(async move { Err(Unreachable(name)) })
    }
}

async fn alone(place: Place) -> Result<Plane, OpenError> {
    let start = std::time::Instant::now();
    let config = Config {
        cluster: "c".to_owned(),
        place,
        heartbeat: HEARTBEAT,
        election_min: ELECTION_MIN,
        election_max: ELECTION_MAX,
        patience: Duration::from_secs(10),
        clock: Arc::new(move || start.elapsed().as_nanos() as u64),
        random: Arc::new(|| fastrand::u64(..)),
    };
    Plane::open(config, Box::new(Sum(0)), Arc::new(Nobody)).await
}

fn threads() -> usize {
    let names = fs::read_dir("/proc/self/task").expect("Linux says").flatten();
    let names = names.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "hm-plane").count()
}

#[tokio::test]
async fn a_plane_lives_on_a_real_disc_and_leaves_nothing_running() {
    // Aim: the thread does its work and ends, the file is what it was, and a snapshot that is not understood is refused. Method: a
    // lonely voter on a real file, started three times, without waiting for any time to pass.
    let directory = tempfile::tempdir().expect("a directory can be made");
    let disc: Arc<dyn Disc> = Arc::new(RealDisc::open(directory.path()).expect("it can be made"));
    let place = || Place::Disc(disc.clone());
    let plane = alone(place()).await.expect("it is new");
    let id = plane.raft_id();
    plane.initialize(BTreeMap::from([(id, voter(0))])).await.expect("it is new");
    let mut views = plane.watch();
    views.wait_for(|view| view.authority.is_some()).await.expect("it lives");
    assert_eq!(plane.propose(vec![0; 3]).await.map(|(_, sum)| sum), Ok(3u64.to_le_bytes().to_vec()));
    assert_eq!(threads(), 1);
    plane.shutdown().await;
    assert_eq!(threads(), 0, "it runs on");
    assert!(matches!(plane.propose(vec![0; 3]).await, Err(ProposeError::Stopped(_))));
    assert!(plane.view().stopped.is_some() && !plane.view().leading);

    let plane = alone(place()).await.expect("it is whole");
    assert_eq!(plane.raft_id(), id);
    plane.watch().wait_for(|view| view.authority.is_some()).await.expect("it lives");
    assert_eq!(plane.propose(vec![0; 4]).await.map(|(_, sum)| sum), Ok(7u64.to_le_bytes().to_vec()));
    plane.shutdown().await;

    let mut store = open(directory.path(), "c").expect("it was closed");
    let (_, last) = store.log_ends().expect("it is whole");
    store
        .hold(&crate::plane::store::Held { last, members: Default::default(), bytes: b"odd".to_vec() })
        .expect("whole");
    drop(store);
    assert!(matches!(alone(place()).await, Err(OpenError::Machine(_))));
    assert_eq!(threads(), 0, "it runs on");
    fs::write(directory.path().join(FILE_NAME), b"no database").expect("it can be written");
    assert!(matches!(alone(place()).await, Err(OpenError::Damaged { .. })));
    assert_eq!(threads(), 0, "it runs on");
}

#[tokio::test]
async fn a_plane_without_a_directory_is_another_voter_each_time() {
    // Aim: nothing is remembered where nothing is kept, and nobody pretends. Method: two lives in memory.
    let first = alone(Place::Memory).await.expect("it is new");
    let second = alone(Place::Memory).await.expect("it is new");
    assert_ne!(first.raft_id(), second.raft_id());
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_that_nobody_could_read_again_stops_the_plane() {
    // Aim: a machine that grows beyond its bound is told so, before its log is cut for a snapshot that is of no use. Method: a lonely
    // voter, a machine whose snapshot becomes too long, commands until there has to be one.
    let plane = alone(Place::Memory).await.expect("it is new");
    plane.initialize(BTreeMap::from([(plane.raft_id(), voter(0))])).await.expect("it is new");
    plane.watch().wait_for(|view| view.authority.is_some()).await.expect("it lives");
    assert!(plane.propose(vec![0; TOO_MUCH as usize]).await.is_ok());
    let mut proposed = 0;
    while plane.view().stopped.is_none() && proposed < PLANE_LOG_ENTRIES * 2 {
        drop(plane.propose(Vec::new()).await);
        proposed += 1;
    }
    let why = plane.view().stopped.unwrap_or_default();
    assert!(why.contains("at most 1048576 can be kept"), "{why:?}");
    plane.shutdown().await;
}
