//! The threads of a node, from begin to end. A cluster member has one I/O thread with a runtime of its own for all
//! connections and timers; an embedded node has a plain timer thread. None of them runs on the caller's runtime, and all of
//! them can be ended from any thread, a task of some runtime included.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::{IMAGE_NICENESS, TICK};
use crate::peer;

thread_local! {
    /// This is the I/O thread of a node.
    static IO: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller is the I/O thread of a node.
pub(crate) fn on_io_thread() -> bool {
    IO.get()
}

/// See the file's header.
pub(crate) struct Life {
    core: Arc<Core>,
    address: Option<SocketAddr>,
    stop: Arc<Stop>,
    /// Taken by who ends it. Held for a move.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How threads hear of the end.
#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    plain: Condvar,
    tasks: Notify,
}

impl Life {
    pub(crate) fn begin(
        core: &Arc<Core>,
        listener: Option<std::net::TcpListener>,
        address: Option<SocketAddr>,
    ) -> Result<Life> {
        let stop = Arc::new(Stop::default());
        let thread = match listener {
            None => timer_thread(Arc::clone(core), Arc::clone(&stop)),
            Some(listener) => io_thread(Arc::clone(core), Arc::clone(&stop), listener),
        };
        let thread =
            thread.map_err(|error| Error::Config(format!("starting the node's threads: {error}")))?;
        let mut threads = vec![thread];
        if core.disc.is_some() {
            for thread in [sync_thread(Arc::clone(core)), checkpoint_thread(Arc::clone(core))] {
                threads.push(
                    thread.map_err(|error| Error::Config(format!("starting the node's threads: {error}")))?,
                );
            }
        }
        Ok(Life { core: Arc::clone(core), address, stop, threads: Mutex::new(threads) })
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Ends all threads and waits for them, unless it is called from one of them.
    pub(crate) fn end(&self, core: &Core) {
        core.close();
        *self.stop.asked.lock() = true;
        self.stop.plain.notify_all();
        self.stop.tasks.notify_one();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() {
                thread.thread().unpark();
                // A thread that panicked has said so; there is nothing left to do for it.
                let _ = thread.join();
            }
        }
        if let Some(disc) = &core.disc {
            disc.close();
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end(&Arc::clone(&self.core));
    }
}

fn timer_thread(core: Arc<Core>, stop: Arc<Stop>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("hypermnesia-timer".into()).spawn(move || {
        let mut asked = stop.asked.lock();
        while !*asked {
            stop.plain.wait_for(&mut asked, TICK);
            parking_lot::MutexGuard::unlocked(&mut asked, || core.tick());
        }
    })
}

fn sync_thread(core: Arc<Core>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("hypermnesia-disc".into()).spawn(move || {
        if let Some(disc) = &core.disc {
            disc.sync_until_closed(&core);
        }
    })
}

fn checkpoint_thread(core: Arc<Core>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("hypermnesia-image".into()).spawn(move || {
        // Behind whoever serves: about a tenth of a processor when all are busy. On Linux this is about the thread alone;
        // where it is refused the thread is one like the others.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), IMAGE_NICENESS);
        if let Some(disc) = &core.disc {
            disc.checkpoint_until_closed(&core);
        }
    })
}

fn io_thread(
    core: Arc<Core>,
    stop: Arc<Stop>,
    listener: std::net::TcpListener,
) -> std::io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("hypermnesia-io".into()).spawn(move || {
        IO.set(true);
        runtime.block_on(async {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return core.fail(Error::Config(format!("peer listener: {error}"))),
            };
            tokio::select! {
                () = peer::run(Arc::clone(&core), Some(listener)) => {}
                () = stop.tasks.notified() => {}
            }
        });
    })
}
