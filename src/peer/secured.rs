//! Who is refused with TLS, and what either end reads of it: two members each time, of which one has something wrong that it
//! does not notice itself.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use hypermnesia_store::NodeId;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use tempfile::TempDir;

use super::handshake::shake;
use super::wire::Wire;
use crate::tls::{Names, Tls, TlsFiles, uri};
use crate::{Error, Node};

#[path = "../../tests/shared/warnings.rs"]
mod warnings;

use crate::tls::certificates::{Authority, BOTH, Files, Wanted};

/// One of two members as it is to be started: files and what it takes for the members' names; none for one without TLS.
type Secured = Option<Tls>;

/// A case: a cluster of two, the one that dials and the one that listens.
struct Case {
    folder: TempDir,
    authority: Authority,
    cluster: String,
    dials: String,
    listens: String,
}

impl Case {
    fn new(cluster: &str) -> Case {
        warnings::listen();
        let mut names = [format!("{cluster}-a"), format!("{cluster}-b")];
        names.sort_by_key(|name| NodeId::of_name(name));
        let [dials, listens] = names;
        let folder = tempfile::tempdir().expect("a directory");
        Case { folder, authority: Authority::new("ours"), cluster: cluster.to_owned(), dials, listens }
    }

    fn uri(&self, member: &str) -> String {
        uri(&self.cluster, member)
    }

    fn names(&self, own: &str) -> Names {
        Names { own: self.uri(own), members: self.uri("") }
    }

    /// Files of a member, as they should be.
    fn good(&self, member: &str) -> Secured {
        Some(self.with(member, self.authority.member(self.folder.path(), member, &self.uri(member))))
    }

    /// A member with other files, which it does not look at.
    fn with(&self, member: &str, files: Files) -> Tls {
        Tls::unchecked(as_files(files), self.names(member))
    }

    /// A member with this certificate.
    fn certified(
        &self,
        member: &str,
        uris: &[&str],
        uses: &[rcgen::ExtendedKeyUsagePurpose],
        expired: bool,
    ) -> Secured {
        let wanted = Wanted { uris, uses, expired };
        Some(self.with(member, self.authority.files(self.folder.path(), member, &wanted)))
    }

    /// Starts both. Neither may serve; each must have warned with these words.
    fn refused(&self, dials: Secured, listens: Secured, dialler_says: &str, listener_says: &str) {
        let nodes = self.start(dials, listens);
        for (node, words) in nodes.iter().zip([dialler_says, listener_says]) {
            let end = Instant::now() + Duration::from_secs(30);
            let told = || warnings::of(node.name());
            while !told().iter().any(|line| line.contains(words)) {
                assert!(Instant::now() < end, "{}: {} says only {:?}", self.cluster, node.name(), told());
                std::thread::yield_now();
            }
            assert!(matches!(node.snapshot().map(drop), Err(Error::NotReady { .. })), "{}", self.cluster);
        }
        let why = nodes[0].snapshot().map(drop).expect_err("it does not serve").to_string();
        assert!(why.contains(dialler_says), "the status of who dials says it too: {why}");
    }

    fn start(&self, dials: Secured, listens: Secured) -> [Node; 2] {
        let sockets = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let at = |at: usize| sockets[at].local_addr().expect("bound").to_string();
        let members = [(self.dials.clone(), at(0)), (self.listens.clone(), at(1))];
        let mut given = [dials, listens].into_iter();
        let mut sockets = sockets.into_iter();
        [0, 1].map(|at| {
            let socket = sockets.next().expect("one each");
            let builder = Node::builder().name(&members[at].0).cluster(&self.cluster);
            let builder = builder.members(members.clone()).peer_listener(socket);
            let mut plan = builder.check().expect("a good configuration");
            plan.tls = given.next().expect("one each");
            Node::start_on(None, plan).expect("it starts")
        })
    }
}

/// Both ends of a connection with TLS, the one that dialled first.
pub(super) async fn pair() -> (Wire, Wire) {
    let case = Case::new("pair");
    let tls = [case.good(&case.dials), case.good(&case.listens)].map(|tls| tls.expect("it has TLS"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let dialled = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let (accepted, _) = listener.accept().await.expect("it was dialled");
    let (one, other) = tokio::join!(
        shake(dialled, tls[0].dialled().expect("good"), None),
        shake(accepted, tls[1].accepted().expect("good"), None)
    );
    (one.expect("they trust each other").0, other.expect("they trust each other").0)
}

fn as_files(files: Files) -> TlsFiles {
    TlsFiles { ca: files.ca, cert: files.cert, key: files.key }
}

fn add_to(path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).expect("it is there");
    std::fs::write(path, before + text).expect("written");
}

#[test]
fn two_good_ones_meet() {
    // Aim: what is refused below is refused for what is wrong with it. Method: nothing is wrong.
    let case = Case::new("good");
    let nodes = case.start(case.good(&case.dials), case.good(&case.listens));
    nodes.iter().for_each(|node| node.wait_for_members(Duration::from_secs(30)).expect("they meet"));
}

#[test]
fn certificates_of_another_authority() {
    // Aim: who is not ours joins nothing, whichever end it is at, and both read what to do. Method: an authority that only the
    // wrong one trusts, beside ours, so that it refuses nobody itself.
    let judges = "was not issued by an authority in our --tls-ca file";
    let judged = "our certificate was not issued by an authority in its --tls-ca file";
    let theirs = Authority::new("theirs");
    let wrong = |case: &Case, member: &str| {
        let files = theirs.member(case.folder.path(), member, &case.uri(member));
        add_to(&files.ca, &case.authority.pem);
        Some(case.with(member, files))
    };
    let case = Case::new("ca-dials");
    case.refused(wrong(&case, &case.dials), case.good(&case.listens), judged, judges);
    let case = Case::new("ca-listens");
    case.refused(case.good(&case.dials), wrong(&case, &case.listens), judges, judged);
}

#[test]
fn an_authority_of_the_same_name() {
    // Aim: an authority is its key, not its name. Method: as above, but both authorities have one name.
    let case = Case::new("ca-named-alike");
    let files = Authority::new("ours").member(case.folder.path(), &case.dials, &case.uri(&case.dials));
    add_to(&files.ca, &case.authority.pem);
    let wrong = Some(case.with(&case.dials, files));
    let judged = "our certificate was not issued by an authority in its --tls-ca file";
    case.refused(
        wrong,
        case.good(&case.listens),
        judged,
        "was not issued by an authority in our --tls-ca file",
    );
}

#[test]
fn certificates_that_have_ended() {
    // Aim: an old certificate opens nothing. Method: one that ended in 2001, at either end.
    let (judges, judged) = ("its certificate ended", "it says that our certificate is not in force");
    let old = |case: &Case, member: &str| case.certified(member, &[&case.uri(member)], &BOTH, true);
    let case = Case::new("old-dials");
    case.refused(old(&case, &case.dials), case.good(&case.listens), judged, judges);
    let case = Case::new("old-listens");
    case.refused(case.good(&case.dials), old(&case, &case.listens), judges, judged);
}

#[test]
fn certificates_for_somebody_else() {
    // Aim: a good certificate of our authority is not enough: it must be for this cluster. Method: one for the same name of another
    // cluster, and for none.
    let (judges, judged) =
        ("not for a member of this cluster", "our certificate is not for a member of its cluster");
    for (number, strange) in ["hypermnesia://other/MEMBER", ""].into_iter().enumerate() {
        let other = |case: &Case, member: &str| {
            let name = strange.replace("MEMBER", member);
            let names = [name.as_str()];
            case.certified(member, if name.is_empty() { &[] } else { &names }, &BOTH, false)
        };
        let case = Case::new(&format!("name-dials-{number}"));
        case.refused(other(&case, &case.dials), case.good(&case.listens), judged, judges);
        let case = Case::new(&format!("name-listens-{number}"));
        case.refused(case.good(&case.dials), other(&case, &case.listens), judges, judged);
    }
}

#[test]
fn certificates_of_clients_and_servers() {
    // Aim: what was issued to a client, or to a server, opens no peer port even if it has a member's name. Method: certificates
    // for one of both uses, at either end.
    let (judges, judged) =
        ("not for both ends of a connection", "our certificate is not for both ends of a connection");
    for uses in [[ClientAuth], [ServerAuth]] {
        let half = |case: &Case, member: &str| case.certified(member, &[&case.uri(member)], &uses, false);
        let what = if uses == [ClientAuth] { "client" } else { "server" };
        let case = Case::new(&format!("{what}-dials"));
        case.refused(half(&case, &case.dials), case.good(&case.listens), judged, judges);
        let case = Case::new(&format!("{what}-listens"));
        case.refused(case.good(&case.dials), half(&case, &case.listens), judges, judged);
    }
}

#[test]
fn no_certificate() {
    // Aim: nobody is let in without one. Method: a member that shows none where it dials.
    let case = Case::new("bare");
    let bare = case.good(&case.dials).map(Tls::without_a_certificate);
    case.refused(bare, case.good(&case.listens), "it wants a certificate", "it showed no certificate");
}

#[test]
fn members_without_tls() {
    // Aim: all have TLS or none, and both ends say which of them is wrong. Method: a plain member, at either end.
    let plain = "it speaks TLS, and this member was started without";
    let sealed = "it does not speak TLS, and this member was started with it";
    let case = Case::new("plain-dials");
    case.refused(None, case.good(&case.listens), plain, sealed);
    let case = Case::new("plain-listens");
    case.refused(case.good(&case.dials), None, sealed, plain);
}

#[test]
fn a_member_that_says_it_is_another_one() {
    // Aim: who has a good certificate cannot take another one's place. Method: the name of one with the certificate of the other, or of
    // somebody who may only come to be a member, at either end; who is honest says so, and nobody serves.
    let words = "and it says that it is";
    let case = Case::new("liar-dials");
    let liar = case.certified(&case.dials, &[&case.uri(&case.listens)], &BOTH, false);
    let nodes = case.start(liar, case.good(&case.listens));
    told(&nodes[1], words);
    let case = Case::new("liar-listens");
    let liar = case.certified(&case.listens, &[&case.uri(&case.dials)], &BOTH, false);
    let nodes = case.start(case.good(&case.dials), liar);
    told(&nodes[0], words);
    let case = Case::new("stranger-dials");
    let stranger = case.certified(&case.dials, &[&case.uri("n9")], &BOTH, false);
    let strangers = case.start(stranger, case.good(&case.listens));
    told(&strangers[1], words);
    assert!(nodes.iter().all(|node| !node.is_ready()));
}

fn told(node: &Node, words: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while !warnings::of(node.name()).iter().any(|line| line.contains(words)) {
        assert!(Instant::now() < end, "{:?}", warnings::of(node.name()));
        std::thread::yield_now();
    }
    assert!(!node.is_ready());
}
