//! The sending end of a streamed answer, for work that runs on a thread of its own. It waits for a slow reader, but only so
//! long: what stands behind it pins old versions of rows.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;

use crate::errors::{Error, ErrorKind};
use crate::limits::{AGE_MAX, IDLE_MAX, STREAM_BATCHES_QUEUED};

/// Nobody takes any more of the answer: stop. What the reader is told, if there still is one, has been seen to.
#[derive(Debug)]
pub(super) struct Gone;

/// See the file's header.
pub(super) struct Outlet<T> {
    sender: mpsc::Sender<Result<T, Status>>,
    runtime: Handle,
    opened: Instant,
    age_max: Duration,
}

/// Tells whether the reader of an outlet has gone away.
pub(super) struct Watcher<T>(mpsc::WeakSender<Result<T, Status>>);

impl<T> Watcher<T> {
    pub(super) fn is_closed(&self) -> bool {
        self.0.upgrade().is_none_or(|sender| sender.is_closed())
    }
}

impl<T: Send + 'static> Outlet<T> {
    /// An outlet and what it sends. Must be called inside the runtime.
    pub(super) fn open() -> (Outlet<T>, mpsc::Receiver<Result<T, Status>>) {
        Outlet::aging(AGE_MAX)
    }

    /// The same, as old as it may become: a backup may pin old versions as long as it takes.
    pub(super) fn of_any_age() -> (Outlet<T>, mpsc::Receiver<Result<T, Status>>) {
        Outlet::aging(Duration::MAX)
    }

    fn aging(age_max: Duration) -> (Outlet<T>, mpsc::Receiver<Result<T, Status>>) {
        let (sender, receiver) = mpsc::channel(STREAM_BATCHES_QUEUED);
        (Outlet { sender, runtime: Handle::current(), opened: Instant::now(), age_max }, receiver)
    }

    /// Whether the reader has gone away.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// For asking that from elsewhere; does not keep the answer open.
    pub(super) fn watcher(&self) -> Watcher<T> {
        Watcher(self.sender.downgrade())
    }

    /// Sends one message. Not to be called on a thread of the runtime.
    pub(super) fn send(&self, message: T) -> Result<(), Gone> {
        let message = match self.sender.try_send(Ok(message)) {
            Ok(()) => return self.check_age(),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Gone),
            Err(mpsc::error::TrySendError::Full(message)) => message,
        };
        match self.runtime.block_on(timeout(IDLE_MAX.min(self.age_left()), self.sender.send(message))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Gone),
            Err(_) => Err(self.expire("the stream was not read from for too long")),
        }
    }

    /// Sends one message if there is room for it: what a slow reader can do without.
    pub(super) fn offer(&self, message: T) {
        // Full or gone: the next one says more.
        drop(self.sender.try_send(Ok(message)));
    }

    /// What the messages go into, for a task.
    pub(super) fn into_sender(self) -> mpsc::Sender<Result<T, Status>> {
        self.sender
    }

    /// Ends the answer with an error.
    pub(super) fn fail(&self, error: Error) {
        let sender = self.sender.clone();
        // The reader may be slow: a task waits for it, so that this thread and what it pins are free at once.
        self.runtime.spawn(async move {
            // A reader that is gone needs no error.
            let _ = sender.send(Err(error.into())).await;
        });
    }

    fn check_age(&self) -> Result<(), Gone> {
        if self.age_left().is_zero() {
            return Err(self.expire("the stream was open for too long"));
        }
        Ok(())
    }

    fn age_left(&self) -> Duration {
        self.age_max.saturating_sub(self.opened.elapsed())
    }

    fn expire(&self, message: &str) -> Gone {
        self.fail(Error::new(ErrorKind::Expired, message));
        Gone
    }
}
