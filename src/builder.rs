//! How a node begins: what the program says about it, checked before anything is started.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use hypermnesia_replication::limits::MEMBERS_MAX;
use hypermnesia_replication::{Member, first_slots};
use hypermnesia_store::NodeId;

use crate::control::Timing;
use crate::discovery::Source;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::options::DiscOptions;
use crate::tls::{Names, Tls, TlsFiles, uri};

/// Longest name of a member or a cluster, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Configures a [`Node`]. Without members it is embedded: one node, no network.
///
/// ```
/// use hypermnesia::Node;
///
/// // Embedded:
/// let node = Node::builder().build()?;
/// assert!(node.is_ready());
///
/// // One of three members; the others are built alike, each with its own name.
/// let n1 = Node::builder()
///     .name("n1")
///     .member("n1", "127.0.0.1:0")
///     .member("n2", "127.0.0.1:7412")
///     .member("n3", "127.0.0.1:7422")
///     .build()?;
/// assert!(!n1.is_ready(), "it waits for the others");
/// # Ok::<(), hypermnesia::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct NodeBuilder {
    pub(crate) name: Option<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) members: Vec<(String, String)>,
    pub(crate) join: Vec<String>,
    pub(crate) listener: Option<std::net::TcpListener>,
    pub(crate) listen: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) disc: DiscOptions,
    pub(crate) memory_max: u64,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) lease: Option<Duration>,
}

/// What was checked.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) me: NodeId,
    /// By id: id, name, address.
    pub(crate) members: Vec<(NodeId, String, String)>,
    /// Whom to ask for a place in a cluster that is there.
    pub(crate) join: Vec<Source>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) disc: DiscOptions,
    pub(crate) memory_max: u64,
    pub(crate) tls: Option<Tls>,
    pub(crate) timing: Timing,
    /// Bound, when there are peers.
    pub(crate) listener: Option<std::net::TcpListener>,
    pub(crate) address: Option<SocketAddr>,
}

impl Plan {
    /// Whether it has no other members, and no way to any.
    pub(crate) fn is_alone(&self) -> bool {
        self.listener.is_none()
    }

    /// Where it is reached by other members, as far as it says.
    pub(crate) fn own_address(&self) -> &str {
        let own = self.members.iter().find(|(node, ..)| *node == self.me);
        own.map_or("", |(.., address)| address.as_str())
    }

    /// The members at the slots that they begin with.
    pub(crate) fn slots(&self) -> Vec<(usize, Member)> {
        let member = |(node, name, address): &(NodeId, String, String)| Member {
            node: *node,
            name: name.clone(),
            address: address.clone(),
        };
        first_slots(self.members.iter().map(member).collect())
    }
}

impl NodeBuilder {
    /// The node's name, unique in the cluster and kept for good: its id follows from it. Default "n1".
    pub fn name(mut self, name: impl Into<String>) -> NodeBuilder {
        self.name = Some(name.into());
        self
    }

    /// The cluster's name: members of different clusters refuse each other. Default "hypermnesia".
    pub fn cluster(mut self, name: impl Into<String>) -> NodeBuilder {
        self.cluster = Some(name.into());
        self
    }

    /// Adds a member and the address on which it listens for the others. All members are named on every node, the node's
    /// own name among them.
    pub fn member(mut self, name: impl Into<String>, address: impl Into<String>) -> NodeBuilder {
        self.members.push((name.into(), address.into()));
        self
    }

    /// Adds several members.
    pub fn members<N: Into<String>, A: Into<String>>(
        mut self,
        members: impl IntoIterator<Item = (N, A)>,
    ) -> NodeBuilder {
        self.members.extend(members.into_iter().map(|(name, address)| (name.into(), address.into())));
        self
    }

    /// Listens for the other members here, instead of on the address that the list of members has for this node. Port 0
    /// takes a free one; [`Node::peer_addr`] tells which.
    pub fn peer_addr(mut self, address: impl Into<String>) -> NodeBuilder {
        self.listen = Some(address.into());
        self
    }

    /// Listens for the other members with this socket, which is bound already: for programs that choose free ports for
    /// several nodes before any of them starts.
    pub fn peer_listener(mut self, listener: std::net::TcpListener) -> NodeBuilder {
        self.listener = Some(listener);
        self
    }

    /// Keeps a commit log and an image of the tables on disc in this directory, which is made if it is not there and belongs
    /// to this process alone while the node lives. Tables with a copy on disc here are read from it at the start. A node
    /// without one refuses to create a table with a copy on its own disc ([`Error::NoDataDirectory`]); of a table that
    /// another member creates with one here it keeps the copy in memory.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> NodeBuilder {
        self.data_dir = Some(directory.into());
        self
    }

    /// How the data directory is written. The defaults suit nearly everybody.
    pub fn disc_options(mut self, options: DiscOptions) -> NodeBuilder {
        self.disc = options;
        self
    }

    /// Bounds the bytes of memory that all its tables may hold here ([`Status::memory_bytes`](crate::Status::memory_bytes)); 0,
    /// the default, is no bound. Past it transactions that would grow a table with a copy here are refused
    /// ([`Error::MemoryFull`]), on whichever member they begin; reads, deletions, replacements of rows by none that are larger
    /// and changes of the schema go on, and tables that evict make room instead. What members have agreed on is always
    /// taken, a start and a catch-up included. It may be passed by a sixty-fourth (16 MiB at most) and what transactions that
    /// prepare at the same moment add; leave room for that, and for what the process needs beside its tables.
    pub fn memory_max(mut self, bytes: u64) -> NodeBuilder {
        self.memory_max = bytes;
        self
    }

    /// How long a member may show what it has read after it has last asked the leader of the control plane, in whole milliseconds
    /// from [`LEASE_MIN`](crate::limits::LEASE_MIN) to [`LEASE_MAX`](crate::limits::LEASE_MAX); default
    /// [`LEASE_DEFAULT`](crate::limits::LEASE_DEFAULT). All members have the same, and refuse who has another. Heartbeats are a fifth
    /// of it apart and elections last half of one to a whole one, so it says how soon a cluster writes again without a member:
    /// about one lease, and up to three when the member led the control plane. A short one excludes members sooner that are only
    /// slow: in a fifth of it every member must get a processor, and below the default one lost packet may do.
    pub fn lease(mut self, lease: Duration) -> NodeBuilder {
        self.lease = Some(lease);
        self
    }

    /// Speaks with the other members by TLS alone, with certificates from three files in PEM form: those of the authorities that
    /// are trusted, this member's own (with what stands between it and its authority behind it), and its key. The certificate
    /// must have `hypermnesia://CLUSTER/NAME` ([`member_uri`](crate::member_uri)) among its subject alternative names and, if it
    /// has extended key usages, both serverAuth and clientAuth. All members have it, or none. The files are looked at every
    /// [`TLS_LOOK_EVERY`](crate::limits::TLS_LOOK_EVERY): new ones are used for new connections, and when they are wrong
    /// the former ones stay in use and it is told as a warning.
    pub fn tls(
        mut self,
        ca: impl Into<PathBuf>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> NodeBuilder {
        self.tls = Some(TlsFiles { ca: ca.into(), cert: cert.into(), key: key.into() });
        self
    }

    /// Asks one of these for a place in a cluster that is there, by their addresses for members, in place of a list of members: the
    /// node becomes one of them, and has their list. Whoever was a member before asks only where it does not remember it.
    /// [`NodeBuilder::build`] waits for that, up to
    /// [`ADMISSION_WAIT_MAX`](crate::limits::ADMISSION_WAIT_MAX). Its own address is that of
    /// [`NodeBuilder::peer_addr`], or the one with which it names itself as a member.
    ///
    /// Beside `HOST:PORT` there may be `dns:NAME[:PORT]`, all addresses of that name (without a port at this node's own), and
    /// `file:PATH`, a file with one `HOST:PORT` a line, where `#` begins a comment. Names are asked and files read again at every
    /// try, and may come later than the node; of each [`DISCOVERY_ADDRESSES_MAX`](crate::limits::DISCOVERY_ADDRESSES_MAX)
    /// addresses count, and of them those that are not this node's own. They suggest whom to ask, and nothing else.
    ///
    /// ```no_run
    /// use hypermnesia::Node;
    /// let fourth = Node::builder().name("n4").member("n4", "10.0.0.4:7401").join(["10.0.0.1:7401"]).build()?;
    /// let fifth = Node::builder().name("n5").peer_addr("10.0.0.5:7401").join(["dns:members.example"]).build()?;
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    pub fn join<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> NodeBuilder {
        self.join.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Starts the node. An embedded one is ready at once; a member serves once it is a member of an epoch (the first time that takes all of them, later most) and its tables are
    /// loaded ([`Node::wait_for_tables`]).
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration cannot work, [`Error::Disc`] when the data directory is in use, damaged or
    /// cannot be read; nothing was started then.
    pub fn build(self) -> Result<Node> {
        Node::start(self)
    }

    pub(crate) fn check(self) -> Result<Plan> {
        let name = self.name.unwrap_or_else(|| "n1".to_owned());
        let cluster = self.cluster.unwrap_or_else(|| "hypermnesia".to_owned());
        check_name("node", &name)?;
        check_name("cluster", &cluster)?;
        let mut members = BTreeMap::new();
        for (member, address) in &self.members {
            check_name("member", member)?;
            let entry = (member.clone(), address.clone());
            if let Some((other, _)) = members.insert(NodeId::of_name(member), entry) {
                let why = if other == *member {
                    "is named twice"
                } else {
                    "has the same id as another; rename one"
                };
                return Err(Error::Config(format!("member {member:?} {why} ({other:?})")));
            }
        }
        let me = NodeId::of_name(&name);
        if members.is_empty() {
            members.insert(me, (name.clone(), String::new()));
        }
        if members.len() > MEMBERS_MAX {
            return Err(Error::Config(format!("{} members, at most {MEMBERS_MAX}", members.len())));
        }
        let Some((_, own)) = members.get(&me) else {
            return Err(Error::Config(format!("node {name:?} is not among the members")));
        };
        let join = self.join.iter().map(|text| Source::parse(text)).collect::<Result<Vec<_>>>()?;
        let timing = self.lease.map_or(Ok(Timing::default()), Timing::of_lease)?;
        let tls = self.tls.map(|files| load(files, &name, &cluster)).transpose()?;
        let wanted = self.listen.as_deref().unwrap_or(own);
        if wanted.is_empty() && self.listener.is_none() && (members.len() > 1 || !join.is_empty()) {
            return Err(Error::Config(format!(
                "other members have to reach {name:?}: give it an address for them"
            )));
        }
        let listener = match self.listener {
            Some(listener) => Some(listener),
            None if wanted.is_empty() => None,
            None => Some(listen(wanted)?),
        };
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some((_, own)) = members.get_mut(&me).filter(|(_, own)| own.is_empty()) {
            *own = address.map(|address| address.to_string()).unwrap_or_default();
        }
        check_join(&join, &members)?;
        if listener.is_some() && members.len() == 1 {
            check_reached(&name, &members)?;
        }
        if listener.is_some() && members.len() == 1 && join.is_empty() && self.data_dir.is_none() {
            return Err(Error::Config(format!(
                "{name:?} begins a cluster alone and would begin another one at each start: give it a data directory, which remembers \
                 that it has begun; or name all members; or let it join those that are there"
            )));
        }
        let members = members.into_iter().map(|(id, (name, address))| (id, name, address)).collect();
        let (disc, memory_max) = (self.disc, self.memory_max);
        disc.check()?;
        Ok(Plan {
            name,
            cluster,
            me,
            members,
            join,
            data_dir: self.data_dir,
            disc,
            memory_max,
            tls,
            timing,
            listener,
            address,
        })
    }
}

/// Who asks others for a place must not name them.
fn check_join(join: &[Source], members: &BTreeMap<NodeId, (String, String)>) -> Result<()> {
    if !join.is_empty() && members.len() > 1 {
        return Err(Error::Config(
            "a list of members is for those who begin a cluster together, and one that is there is asked for its list: give either \
             the members or whom to ask"
                .to_owned(),
        ));
    }
    Ok(())
}

/// A member that others come to, or that comes to others, has to be reached by them.
fn check_reached(name: &str, members: &BTreeMap<NodeId, (String, String)>) -> Result<()> {
    let own = members.values().next().map_or("", |(_, own)| own.as_str());
    let (host, port) = own.rsplit_once(':').unwrap_or((own, ""));
    let nowhere = host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_unspecified()) || host == "[::]";
    if nowhere || port == "0" {
        return Err(Error::Config(format!(
            "other members cannot reach {name:?} at {own}: name it as its only member with the address that they are to use, in the \
             program by member({name:?}, ...), on the command line by --members {name}=HOST:PORT"
        )));
    }
    Ok(())
}

fn load(files: TlsFiles, name: &str, cluster: &str) -> Result<Tls> {
    let (tls, warnings) = Tls::load(files, Names { own: uri(cluster, name), members: uri(cluster, "") })?;
    warnings.iter().for_each(|warning| tracing::warn!(node = %name, "{warning}"));
    Ok(tls)
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.chars().any(|c| c.is_control() || c == ',' || c == '=');
    if good { Ok(()) } else { Err(Error::Config(format!("{name:?} is no name for a {what}"))) }
}

fn listen(address: &str) -> Result<std::net::TcpListener> {
    let wrong = |error: std::io::Error| Error::Config(format!("peer address {address:?}: {error}"));
    let addresses: Vec<_> = address.to_socket_addrs().map_err(wrong)?.collect();
    std::net::TcpListener::bind(&addresses[..]).map_err(wrong)
}
