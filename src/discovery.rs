//! Where members of a cluster that is there may be reached: addresses, names in the DNS and files, looked at again at every try.
//! What is found only ever suggests whom to ask. Who is a member is said by the register, and who somebody is by certificates, so a
//! wrong record or line costs a try and nothing else. Described in docs/operations.md, "Find members".

mod own;
mod source;

use std::collections::BTreeSet;
use std::io::{Error as IoError, Result as IoResult};
use std::net::SocketAddr;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::builder::Plan;
use crate::limits::{DISCOVERY_ADDRESSES_MAX, HELLO_WAIT_MAX};
use own::Own;
pub(crate) use source::Source;

/// All places where a node looks for members.
pub(crate) struct Discovery<'a> {
    node: &'a str,
    sources: &'a [Source],
    own: Own,
    /// What was told already: the same trouble is found at every try.
    told: BTreeSet<String>,
}

/// What one look has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whom to ask, each once.
    pub(crate) addresses: Vec<String>,
    /// Why there are not more: what, where, and what to do.
    pub(crate) troubles: Vec<String>,
}

impl<'a> Discovery<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Discovery<'a> {
        let own = Own::new(plan.own_address(), plan.address);
        Discovery { node: &plan.name, sources: &plan.join, own, told: BTreeSet::new() }
    }

    /// Looks everywhere. A trouble is told as a warning the first time.
    pub(crate) async fn look(&mut self) -> Found {
        self.own.look().await;
        let mut all = Found::default();
        for source in self.sources {
            let Found { addresses, troubles } = source.look(self.own.port()).await;
            all.troubles.extend(troubles);
            let mut others = Vec::new();
            for address in &addresses {
                if !self.own.has(address).await {
                    others.push(address.clone());
                }
            }
            if others.is_empty() && !addresses.is_empty() {
                all.troubles.push(format!(
                    "{source} has no address but that of {:?} itself: name other members there, and begin a cluster's first member \
                     without whom to join",
                    self.node
                ));
            }
            others.into_iter().for_each(|address| all.suggest(address));
        }
        for trouble in self.untold(&all.troubles) {
            tracing::warn!(node = %self.node, "waiting to join: {trouble}");
        }
        all
    }

    /// Those that were not told before.
    fn untold(&mut self, troubles: &[String]) -> Vec<String> {
        troubles.iter().filter(|trouble| self.told.insert((*trouble).clone())).cloned().collect()
    }
}

impl Found {
    fn suggest(&mut self, address: String) {
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    fn trouble(why: String) -> Found {
        Found { addresses: Vec::new(), troubles: vec![why] }
    }

    /// What is past the bound is left out, which is told.
    fn bounded(mut self, source: &Source) -> Found {
        let count = self.addresses.len();
        if count > DISCOVERY_ADDRESSES_MAX {
            self.addresses.truncate(DISCOVERY_ADDRESSES_MAX);
            self.troubles.push(format!(
                "{source} has {count} addresses, of which the first {DISCOVERY_ADDRESSES_MAX} are asked: a few members are enough"
            ));
        }
        self
    }
}

/// The socket addresses of HOST:PORT now. The resolver may hang for longer than a try may take.
async fn resolve(address: &str) -> IoResult<Vec<SocketAddr>> {
    let late = |_| IoError::other(format!("no answer in {} s", HELLO_WAIT_MAX.as_secs()));
    Ok(timeout(HELLO_WAIT_MAX, lookup_host(address)).await.map_err(late)??.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn looked(own: &str, bound: &str, sources: &[Source]) -> Found {
        let own = Own::new(own, bound.parse().ok());
        Discovery { node: "n4", sources, own, told: BTreeSet::new() }.look().await
    }

    #[test]
    fn a_trouble_is_told_once() {
        // Aim: a file that comes late does not fill the log with a line for every try. Method: the same trouble at two tries, beside
        // another one at the second.
        let (own, told) = (Own::new("n4:7431", None), BTreeSet::new());
        let mut discovery = Discovery { node: "n4", sources: &[], own, told };
        let troubles = ["no file".to_owned(), "no name".to_owned()];
        assert_eq!(discovery.untold(&troubles[..1]), ["no file"]);
        assert_eq!(discovery.untold(&troubles), ["no name"]);
    }

    #[tokio::test]
    async fn ones_own_address_is_passed_over_and_others_are_asked_once() {
        // Aim: nobody asks itself, whichever way it is named, and nobody is asked twice. Method: a list with the node's own address as it
        // listens, as it says and by name, beside the same host's other port, twice; then a source with nothing else.
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("members");
        let text = "127.0.0.1:7431\nlocalhost:7431\n[::1]:7431\n127.0.0.1:7401\n127.0.0.1:7401\n";
        std::fs::write(&path, text).expect("written");
        let there = Source::parse("127.0.0.1:7401").expect("one");
        let file = Source::parse(&format!("file:{}", path.display())).expect("one");
        let found = looked("n4.example.invalid:7431", "[::]:7431", &[file, there]).await;
        assert_eq!(found, Found { addresses: vec!["127.0.0.1:7401".to_owned()], troubles: Vec::new() });
        let own = Source::parse("127.0.0.1:7431").expect("one");
        for bound in ["127.0.0.1:7431", "0.0.0.0:7431"] {
            let found = looked("10.9.9.9:7431", bound, std::slice::from_ref(&own)).await;
            assert!(found.addresses.is_empty(), "{bound}: {found:?}");
            assert!(
                found.troubles[0].contains("127.0.0.1:7431 has no address but that of \"n4\""),
                "{found:?}"
            );
        }
        // At another address of this machine there may be another member.
        assert_eq!(looked("10.9.9.9:7431", "127.0.0.2:7431", &[own]).await.addresses, ["127.0.0.1:7431"]);
    }
}
