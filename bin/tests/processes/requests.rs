//! What a client knows of a request whose member is gone: the same answer at another one, and an outcome.

use std::process::Command;
use std::time::Duration;

use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{
    AttributeType, Client, Outcome, TableSpec, Transact, Transacted, TransactionOptions,
};

use crate::program::{Server, WAIT, members};
use crate::until::until;

/// Three members, and a table of (id, n) on all of them.
struct Three {
    servers: Vec<Server>,
    runtime: tokio::runtime::Runtime,
}

impl Three {
    fn start(list: &str, homes: Option<&std::path::Path>) -> Three {
        let server = |name: &str| {
            let data = homes.map(|home| home.join(name).to_str().expect("plain").to_owned());
            let data: Vec<&str> = data.iter().flat_map(|data| ["--data", data]).collect();
            Server::start(&[&["--name", name, "--members", list], &data[..]].concat())
        };
        let servers: Vec<Server> = ["n1", "n2", "n3"].map(server).into();
        servers.iter().for_each(|server| drop(server.says(&["status", "--wait", WAIT])));
        let runtime = tokio::runtime::Runtime::new().expect("the test holds this");
        Three { servers, runtime }
    }

    fn with_table(list: &str, homes: Option<&std::path::Path>) -> Three {
        let three = Three::start(list, homes);
        let spec = TableSpec::set("t").attribute("id", AttributeType::Int).attribute("n", AttributeType::Int);
        three.runtime.block_on(three.client(0).create_table(spec)).expect("all are there");
        three
    }

    fn client(&self, at: usize) -> Client {
        self.runtime.block_on(Client::connect(&self.servers[at].addr)).expect("it listens")
    }

    /// Puts row 1 if there is none, under a request id: done a second time, the condition would not hold.
    fn put_new(&self, at: usize) -> Result<Transacted, ErrorKind> {
        let options = TransactionOptions::new().request_id("the first row").timeout(Duration::from_secs(20));
        let put = Transact::new().when_absent("t", 1).read("t", 1).put("t", (1, 10)).options(options);
        self.runtime.block_on(self.client(at).transact(put)).map_err(|error| error.kind())
    }

    fn kill(&mut self, at: usize) {
        let mut server = self.servers.remove(at);
        server.child.kill().expect("the test holds this");
        server.child.wait().expect("the test holds this");
    }
}

#[test]
fn a_request_is_answered_alike_by_every_member_and_after_a_restart_of_all() {
    // Aim: who sends a request again, because its member is gone, hears the first answer, whoever is asked. Method: one is done and
    // its member killed; the same to both others; all killed, started again from their discs, and each asked.
    let (list, home) = (members(3), tempfile::tempdir().expect("the test holds this"));
    let mut three = Three::with_table(&list, Some(home.path()));
    let first = three.put_new(0).expect("done");
    assert!(first.applied() && first.committed_at > 0, "{first:?}");
    three.kill(0);
    // Refused at first, until the other two have agreed to go on.
    until(|| three.put_new(0).is_ok());
    let again = [0, 1].map(|at| three.put_new(at).expect("answered"));
    assert_eq!(again, [first.clone(), first.clone()]);
    three.kill(1);
    three.kill(0);
    let three = Three::start(&list, Some(home.path()));
    let again = [0, 1, 2].map(|at| three.put_new(at).expect("answered"));
    assert_eq!(again, [first.clone(), first.clone(), first]);
}

#[test]
fn the_others_tell_what_became_of_a_transaction_whose_coordinator_is_killed() {
    // Aim: an unknown outcome is known once the others go on. Method: one participant stands still, so the commit of a transaction has
    // no end; its coordinator is killed, once between prepare and decision and once behind its decision to abort; the
    // participant goes on; the two others are asked, and the row is looked at.
    for decided in [false, true] {
        let mut three = Three::with_table(&members(3), None);
        let coordinator = three.client(0);
        let open = three.runtime.block_on(async {
            let time = Duration::from_millis(if decided { 1_000 } else { 20_000 });
            let mut open = coordinator.begin(TransactionOptions::new().timeout(time)).await.expect("begun");
            open.put("t", (1, 10)).await.expect("kept until the commit");
            open
        });
        let transaction = open.id().expect("it has begun");
        signal(&three.servers[2], "-STOP");
        let commit = three.runtime.spawn(open.commit());
        if decided {
            let refused = three.runtime.block_on(commit).expect("no panic").expect_err("a vote is missing");
            assert_eq!(refused.kind(), ErrorKind::OutcomeUnknown);
        } else {
            let other = three.client(1);
            until(|| !three.runtime.block_on(other.in_doubt()).expect("it answers").is_empty());
        }
        three.kill(0);
        signal(&three.servers[1], "-CONT");
        let mut told = Vec::new();
        until(|| {
            let outcome = |at| three.runtime.block_on(three.client(at).outcome(transaction));
            told = [0, 1].map(|at| outcome(at).expect("it answers").0).to_vec();
            told.iter().all(|one| *one != Outcome::Unknown)
        });
        assert_eq!(told[0], told[1]);
        // Who stood still may have been excluded, and serves when it has joined again.
        let there = |at| {
            let (table, mut found) = (three.client(at).table("t"), None);
            until(|| {
                found = three.runtime.block_on(table.get_one(1)).ok();
                found.is_some()
            });
            found.flatten().is_some()
        };
        assert_eq!([0, 1].map(there), [told[0] == Outcome::Committed; 2], "decided: {decided}");
    }
}

fn signal(server: &Server, name: &str) {
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().expect("the test holds this").success());
}
