//! Runs the calls of a [`Store`] one after the other: on a thread of its own, since they wait for the disc and the runtime must
//! not, or in place, for a store in memory and for simulations, where a thread beside a paused clock would bring disorder.

use std::sync::OnceLock;
use std::thread::JoinHandle;

use hypermnesia_store::disc::caught;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::error::{OpenError, StoreError};
use super::store::Store;
use crate::limits::PLANE_JOBS_MAX;

type Job = Box<dyn FnOnce(&mut Store) + Send>;

/// See the file's header.
pub(super) struct Keeper {
    hand: Hand,
    /// The first error, which stays: see [`Store`].
    failed: OnceLock<StoreError>,
}

enum Hand {
    /// Held for one call, never across an await. `None` when closed.
    InPlace(Mutex<Option<Store>>),
    Thread {
        /// `None` asks it to end.
        jobs: mpsc::Sender<Option<Job>>,
        /// Held for a move.
        thread: Mutex<Option<JoinHandle<()>>>,
    },
}

impl Keeper {
    pub(super) fn in_place(store: Store) -> Keeper {
        Keeper { hand: Hand::InPlace(Mutex::new(Some(store))), failed: OnceLock::new() }
    }

    /// Opens a store on a thread of its own, which keeps it.
    pub(super) async fn on_thread(
        open: impl FnOnce() -> Result<Store, OpenError> + Send + 'static,
    ) -> Result<Keeper, OpenError> {
        let (jobs, queue) = mpsc::channel(PLANE_JOBS_MAX);
        let (told, hears) = oneshot::channel();
        let thread = std::thread::Builder::new().name("hm-plane".to_owned());
        let thread = thread.spawn(move || match open() {
            Ok(store) => {
                if told.send(Ok(())).is_ok() {
                    work(store, queue);
                }
            }
            Err(error) => drop(told.send(Err(error))),
        });
        let thread = thread.map_err(|error| OpenError::Config(format!("no thread for its file: {error}")))?;
        let opened = hears.await;
        let ended = || OpenError::Raft("the thread of its file ended in a panic".to_owned());
        match opened.unwrap_or_else(|_| Err(ended())) {
            Ok(()) => {}
            Err(error) => {
                // It has nothing more to do.
                thread.join().map_err(|_| ended())?;
                return Err(error);
            }
        }
        Ok(Keeper { hand: Hand::Thread { jobs, thread: Mutex::new(Some(thread)) }, failed: OnceLock::new() })
    }

    /// Runs a call. A change is durable when it returns `Ok`, and goes on when its future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outcome = match &self.hand {
            Hand::InPlace(store) => match store.lock().as_mut() {
                Some(store) => called(store, call),
                None => Err(StoreError::Closed),
            },
            Hand::Thread { jobs, .. } => {
                let (told, hears) = oneshot::channel();
                let job: Job = Box::new(move |store| {
                    // Who does not listen any more has no use for it.
                    drop(told.send(called(store, call)));
                });
                let sent = jobs.send(Some(job)).await.is_ok();
                if sent { hears.await.unwrap_or(Err(StoreError::Closed)) } else { Err(StoreError::Closed) }
            }
        };
        if let Err(error) = &outcome {
            self.failed.get_or_init(|| error.clone());
        }
        outcome
    }

    pub(super) fn failed(&self) -> Option<&StoreError> {
        self.failed.get()
    }

    /// Closes the file and waits for the thread.
    pub(super) async fn close(&self) {
        match &self.hand {
            Hand::InPlace(store) => drop(store.lock().take()),
            Hand::Thread { jobs, thread } => {
                let asked = jobs.send(None).await;
                jobs.closed().await;
                let thread = thread.lock().take();
                // It has dropped its queue and the file, so it ends now.
                if let Some(Err(_)) = thread.map(JoinHandle::join) {
                    tracing::error!(?asked, "the thread of the control plane's file ended in a panic");
                }
            }
        }
    }
}

fn work(store: Store, mut queue: mpsc::Receiver<Option<Job>>) {
    let mut store = store;
    while let Some(Some(job)) = queue.blocking_recv() {
        job(&mut store);
    }
    // The file is closed before anybody hears that the thread has ended.
    drop(store);
    drop(queue);
}

/// redb asserts on pages that are not what they should be.
fn called<T>(
    store: &mut Store,
    call: impl FnOnce(&mut Store) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if let Some(failed) = store.failed() {
        return Err(failed.clone());
    }
    let outcome = caught(|| call(store));
    outcome.unwrap_or_else(|_| Err(store.fail("a page of it is not what it should be".to_owned())))
}
