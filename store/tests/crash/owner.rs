//! Directories and files of somebody else: named with both sides, and left as they are.

use hypermnesia_store::NodeId;
use hypermnesia_store::disc::{Crash, DirectoryId, Disc, DiscError, MemDisc, Opener};

use crate::session::{Promised, Session, TRANSACTIONS, check, opener};

/// Another node of another cluster, on the same machine.
fn other(disc: &MemDisc) -> Opener {
    let fresh = DirectoryId([9; 16]);
    Opener {
        node: NodeId(9),
        name: "n9".into(),
        cluster: "other".into(),
        fresh,
        ..opener(Some(disc.boots()))
    }
}

/// A directory with an image and several segments, stopped cleanly.
fn directory(opener: &Opener) -> MemDisc {
    let disc = MemDisc::new();
    let mut session = Session::open_as(&disc, opener).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let mut promised = Promised::default();
    (1..=TRANSACTIONS).for_each(|n| session.transaction(n, &mut promised).expect("no fault is planted"));
    session.writer.close().expect("no fault is planted");
    drop(session);
    disc
}

fn files(disc: &MemDisc) -> Vec<(String, Option<Vec<u8>>)> {
    let names = disc.list().expect("no fault is planted");
    names.into_iter().map(|name| (name.clone(), disc.bytes(&name))).collect()
}

#[test]
fn a_directory_is_opened_by_its_owner_only() {
    // Aim: directories that changed places, another name, another cluster: refused with both sides named. Method: each
    // difference alone, and all of them.
    let disc = directory(&opener(Some(0)));
    let (mine, before) = (opener(Some(0)), files(&disc));
    let all = other(&disc);
    let name = Opener { name: all.name.clone(), ..mine.clone() };
    let node = Opener { node: all.node, ..mine.clone() };
    let cluster = Opener { cluster: all.cluster.clone(), ..mine.clone() };
    for stranger in [&all, &name, &node, &cluster] {
        let error = Session::open_as(&disc, stranger).err().expect("it is somebody else's");
        assert!(matches!(error, DiscError::Foreign { .. }) && error.is_corruption(), "{error}");
        let text = error.to_string();
        for part in [
            "/memory",
            "n7",
            "crash",
            &stranger.name,
            &stranger.cluster,
            "start there the node it belongs to",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!(files(&disc) == before, "nothing was changed");
    }
    assert_eq!(check(&disc, 0, TRANSACTIONS, "its owner"), TRANSACTIONS);
}

#[test]
fn a_file_of_another_directory_is_refused() {
    // Aim: an image with the log of another node, or a segment of it, is no directory. Method: put each file of another
    // directory in the place of the one of that name.
    let disc = directory(&opener(Some(0)));
    let theirs = directory(&other(&disc));
    for (name, bytes) in files(&theirs) {
        let changed = disc.crash(Crash::Kill);
        assert!(changed.bytes(&name).is_some(), "both have {name}");
        changed.overwrite(&name, bytes.expect("it is there"));
        let error = Session::open(&changed).err().expect("it is not of this directory");
        let text = error.to_string();
        match error {
            DiscError::Foreign { .. } => assert_eq!(name, "IDENTITY", "{text}"),
            DiscError::Stray { .. } => {
                assert!(text.contains(&name) && text.contains("node \"n7\""), "{text}")
            }
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn a_log_that_is_gone_is_missed() {
    // Aim: an empty directory is new, one that lost its log is damaged. Method: take away the only segment before the first
    // checkpoint, and the unused image with it.
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    session.logged(1).expect("no fault is planted");
    drop(session);
    for gone in [&["log-000000000001.seg"][..], &["log-000000000001.seg", "image.redb"]] {
        let changed = disc.crash(Crash::Kill);
        gone.iter().for_each(|name| changed.remove(name).expect("it is there"));
        let error = Session::open(&changed).err().expect("it had a log");
        assert!(error.is_corruption() && error.to_string().contains("log is missing"), "{gone:?}: {error}");
    }
}
