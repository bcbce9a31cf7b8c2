//! Connections that came and have not said who they are. They are few, so that they cost little; and when there are too many the
//! oldest one of the address that has most goes for the newcomer, so that those who say nothing keep no member out, and an
//! address that sends many harms itself first.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limits::STRANGERS_MAX;

/// See the file's header.
#[derive(Default)]
pub(super) struct Strangers {
    /// Held for a look at all of them. A leaf lock.
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// In the order they came.
    all: Vec<Stranger>,
    came: u64,
}

struct Stranger {
    number: u64,
    from: IpAddr,
    shown_out: Arc<Notify>,
}

/// The place of one of them, given back when it is dropped.
pub(super) struct Place {
    strangers: Arc<Strangers>,
    number: u64,
    shown_out: Arc<Notify>,
}

impl Strangers {
    /// A place for who has just come.
    pub(super) fn enter(self: &Arc<Strangers>, from: SocketAddr) -> Place {
        let mut waiting = self.waiting.lock();
        if waiting.all.len() >= STRANGERS_MAX {
            let gone = waiting.one_to_go();
            waiting.all.remove(gone).shown_out.notify_one();
        }
        waiting.came += 1;
        let (number, shown_out) = (waiting.came, Arc::new(Notify::new()));
        waiting.all.push(Stranger { number, from: network(from.ip()), shown_out: Arc::clone(&shown_out) });
        Place { strangers: Arc::clone(self), number, shown_out }
    }
}

impl Waiting {
    /// The position of the oldest one of the address that has most.
    fn one_to_go(&self) -> usize {
        let of = |from: IpAddr| self.all.iter().filter(|other| other.from == from).count();
        let most = self.all.iter().map(|stranger| of(stranger.from)).max();
        self.all.iter().position(|stranger| Some(of(stranger.from)) == most).unwrap_or(0)
    }
}

impl Place {
    /// Comes back when the place is needed for somebody else.
    pub(super) async fn shown_out(&self) {
        self.shown_out.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.waiting.lock().all.retain(|stranger| stranger.number != self.number);
    }
}

/// What counts as one address: of IPv6 whoever has one has the 2^64 beside it too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn is_shown_out(place: &Place) -> bool {
        pin!(place.shown_out()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_sends_many_goes_first() {
        // Aim: a flood of one address shows nobody else out, and there are never more than the bound. Method: one connection of
        // a member's address, then three times as many as there are places from another one, then one of a third.
        let strangers = Arc::new(Strangers::default());
        let member = strangers.enter(([10, 0, 0, 1], 1).into());
        let flood = || strangers.enter(([10, 0, 0, 2], 1).into());
        let many: Vec<_> = (0..3 * STRANGERS_MAX).map(|_| flood()).collect();
        assert!(!is_shown_out(&member));
        let out: Vec<_> = many.iter().map(is_shown_out).collect();
        let stay = STRANGERS_MAX - 1;
        assert_eq!(out, [vec![true; many.len() - stay], vec![false; stay]].concat(), "the oldest go");
        assert_eq!(strangers.waiting.lock().all.len(), STRANGERS_MAX);
        let late = strangers.enter(([10, 0, 0, 3], 1).into());
        assert!(!is_shown_out(&late) && !is_shown_out(&member), "who comes late has a place too");
        drop((many, member, late));
        assert_eq!(strangers.waiting.lock().all.len(), 0, "places come back");
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        // Aim: nobody becomes many by changing the end of an address. Method: two of one network, one of another, one of IPv4
        // in the form of IPv6.
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
