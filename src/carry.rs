//! Carries effects out. Messages go to their peer's queue at once, in order, before the handler lets go of its locks; the
//! sockets are written behind the handler, each once, by the thread that had the event. A reply wakes its caller directly.
//! Never blocks and never calls back into the replica while a handler runs.

use bytes::Bytes;
use hypermnesia_replication::message::Prepare;
use hypermnesia_replication::{Effect, Event, Message, Opened, Peer, Sink};
use hypermnesia_store::{TxId, codec};

use crate::core::Core;
use crate::error::Error;
use crate::life::{on_io_thread, on_own_thread};
use crate::limits::WRITERS_MAX;
use crate::remote::Question;

/// The effects of one event, or of all frames of one read.
pub(crate) struct Carry<'a> {
    core: &'a Core,
    /// Links with something new in their queue, by position.
    touched: u64,
    /// Something was queued that may wait until the I/O thread comes by.
    left: bool,
    /// The last Prepare that was encoded: the same bytes go to every participant.
    prepare: Option<(TxId, Bytes)>,
    /// Records were queued for the log and are not to wait.
    logged: bool,
    /// An epoch that all its members have staged: the control plane has to hear of it.
    opened: Option<Opened>,
    /// The handlers have come to their end.
    finished: bool,
}

/// A handler that panicked has left its work half done, which nobody may build on: the node stops, also when the thread is
/// somebody else's and goes on.
impl Drop for Carry<'_> {
    fn drop(&mut self) {
        if !self.finished && std::thread::panicking() && !on_own_thread() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("without a name").to_owned();
            self.core.fail(Error::Broken(format!("a panic in the thread {name}, which handled an event")));
        }
    }
}

impl<'a> Carry<'a> {
    pub(crate) fn new(core: &'a Core) -> Carry<'a> {
        Carry { core, touched: 0, left: false, prepare: None, logged: false, opened: None, finished: false }
    }

    /// Writes what was queued, and continues what the log has made safe until nothing is left.
    pub(crate) fn finish(&mut self) {
        loop {
            self.flush();
            let opened = self.opened.take();
            let logged = std::mem::take(&mut self.logged);
            if !logged && opened.is_none() {
                self.finished = true;
                return;
            }
            if let Some(opened) = opened {
                self.core.open(&opened, self);
            }
            if let Some(disc) = self.core.disc.as_ref().filter(|_| logged) {
                disc.drain(self.core, self);
            }
        }
    }

    /// Each socket once. With many commits under way it is left to the I/O thread, which then writes for many at once: a
    /// write to a socket costs more than all else about a commit.
    fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        let mut left = std::mem::take(&mut self.left);
        if touched != 0 && self.core.commits_under_way() > WRITERS_MAX && !on_io_thread() {
            (touched, left) = (0, true);
        }
        while touched != 0 {
            let at = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            self.core.peers.flush(at);
        }
        if left && on_io_thread() {
            self.core.peers.flush_all();
        } else if left {
            self.core.peers.leave_to_io();
        }
    }

    fn send(&mut self, to: Peer, message: Message) {
        let payload = match &message {
            Message::Prepare(prepare) => self.prepared(prepare, &message),
            _ => Bytes::from(codec::encode(&message)),
        };
        // Nobody waits for the arrival of a commit that asks for no answer: its caller has heard already.
        let may_wait = matches!(message, Message::Commit { acknowledge: false, .. });
        match self.core.peers.push(to, payload) {
            Some(_) if may_wait => self.left = true,
            Some(at) => self.touched |= 1 << at,
            None => {}
        }
    }

    fn prepared(&mut self, prepare: &Prepare, message: &Message) -> Bytes {
        if let Some((txid, bytes)) = &self.prepare
            && *txid == prepare.txid
        {
            return bytes.clone();
        }
        let bytes = Bytes::from(codec::encode(message));
        self.prepare = Some((prepare.txid, bytes.clone()));
        bytes
    }
}

impl Sink for Carry<'_> {
    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(to, message),
            Effect::Log { fact, level, token } => {
                if let Some(disc) = &self.core.disc {
                    self.logged |= disc.append(self.core, fact, level, token);
                }
            }
            Effect::Done { txid, reply } => self.core.done(txid, reply),
            Effect::Settled { txid, outcome } => self.core.events.settled(txid, outcome),
            Effect::ProposeOpening(opened) => self.opened = Some(opened),
            Effect::Fetch { from, epoch, id, fetch } => {
                let question = Question { from, epoch, id, fetch };
                if let Some(refusal) = self.core.remote.served.on_fetch(self.core, question) {
                    self.send(from, refusal);
                }
            }
            Effect::Fetched { id, answer } => self.core.remote.asked.on_fetched(id, answer),
            Effect::Read(reading) => self.core.readings.add(reading),
            Effect::Event(event) => {
                if let Event::Loaded { table, .. } = event {
                    self.core.check_disc(table);
                }
                self.core.events.happened(event);
            }
        }
    }
}
