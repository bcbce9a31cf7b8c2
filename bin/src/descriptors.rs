//! File descriptors of a member: as many as the system gives, and of those so many kept back for the disc and the other
//! members that clients can never take the last one.

use hypermnesia_rpc::limits::{CONNECTIONS_MAX, STRANGERS_MAX};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for everything but clients: strangers at the peer port (64), a connection to each member, log segments and the
/// image (10), runtimes, listeners and standard streams (20), and as much again as a margin for large clusters.
const RESERVED: u64 = 128;

/// Clients that a member takes at least, where the limit is smaller than all of that: it may then still run into it.
const CLIENTS_MIN: u64 = 8;

/// Raises the soft limit of this process to the hard one, and says how many clients may be connected at a time.
pub(crate) fn for_clients() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Refused, it is as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    clients(getrlimit(Resource::Nofile).current)
}

/// How many clients fit into this limit; `None` is without one.
fn clients(descriptors: Option<u64>) -> usize {
    let kept = RESERVED + STRANGERS_MAX as u64;
    let left = descriptors.map_or(u64::MAX, |most| most.saturating_sub(kept).max(CLIENTS_MIN));
    usize::try_from(left).map_or(CONNECTIONS_MAX, |left| left.min(CONNECTIONS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_reserve_leaves() {
        // Aim: never more descriptors than there are, never none. Method: no limit, a usual one, a small one, a tiny one.
        assert_eq!(clients(None), CONNECTIONS_MAX);
        assert_eq!(clients(Some(1 << 20)), CONNECTIONS_MAX);
        assert_eq!(clients(Some(300)), 300 - 128 - STRANGERS_MAX);
        assert_eq!(clients(Some(64)), 8);
    }
}
