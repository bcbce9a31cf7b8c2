//! Tables that are read for copies ([`Effect::Read`](hypermnesia_replication::Effect::Read)): one after the other, on a thread that
//! may take its time. A node that ends leaves what is still to be read.

use std::collections::VecDeque;
use std::sync::Arc;

use hypermnesia_replication::Reading;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core::Core;
use crate::life::{elsewhere, spawn};

/// See the file's header. A joiner has one at a time here, and a source one for each joiner.
#[derive(Default)]
pub(crate) struct Readings {
    /// Held for a list operation; a leaf lock.
    waiting: Mutex<VecDeque<Reading>>,
    bell: Notify,
}

impl Readings {
    pub(crate) fn add(&self, reading: Reading) {
        self.waiting.lock().push_back(reading);
        self.bell.notify_one();
    }

    async fn next(&self) -> Reading {
        loop {
            let next = self.waiting.lock().pop_front();
            match next {
                Some(reading) => return reading,
                None => self.bell.notified().await,
            }
        }
    }
}

/// Reads for as long as the node lives. Called on its I/O thread.
pub(crate) fn begin(core: &Arc<Core>) {
    let all = Arc::clone(core);
    spawn(core, async move {
        loop {
            let (reading, reader) = (all.readings.next().await, Arc::clone(&all));
            let read = elsewhere(move || reader.replica.read(reading)).await;
            all.event(|core, now, out| core.replica.on_read(now, read, out));
        }
    });
}
