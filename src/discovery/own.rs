//! A node's own address for members, in all its forms: who looks for others finds itself there too, as every member of a headless
//! service does, and must not wait for its own answer.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::resolve;

pub(super) struct Own {
    /// Where it says that others reach it.
    said: String,
    /// Where that is now.
    reached: Vec<SocketAddr>,
    /// Where it listens.
    bound: Option<SocketAddr>,
}

impl Own {
    pub(super) fn new(said: &str, bound: Option<SocketAddr>) -> Own {
        Own { said: said.to_owned(), reached: Vec::new(), bound }
    }

    /// Looks up where it is reached. Its record may come after its start; then it is not known yet, and that is all.
    pub(super) async fn look(&mut self) {
        self.reached = resolve(&self.said).await.unwrap_or_default();
    }

    /// The port at which others reach it.
    pub(super) fn port(&self) -> u16 {
        let said = port(&self.said).filter(|port| *port > 0);
        said.or(self.bound.map(|bound| bound.port())).unwrap_or_default()
    }

    /// Whether nobody but this node is there. A name with addresses of others beside its own is a way to them.
    pub(super) async fn has(&self, address: &str) -> bool {
        let ports = [Some(self.port()), self.bound.map(|bound| bound.port())];
        // Most have another host or port, and are not looked up for this.
        if address == self.said || !ports.contains(&port(address)) {
            return address == self.said;
        }
        let all = resolve(address).await.unwrap_or_default();
        !all.is_empty() && all.iter().all(|one| self.is(*one))
    }

    fn is(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let is_bound = self.bound.filter(|bound| bound.port() == address.port()).is_some_and(|bound| {
            bound.ip().to_canonical() == ip
                || bound.ip().is_unspecified() && (bound.is_ipv6() || ip.is_ipv4()) && is_local(ip)
        });
        is_bound || self.reached.contains(&address)
    }
}

fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

/// Whether it is an address of this machine: only such ones can be bound. Nothing is sent.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}
