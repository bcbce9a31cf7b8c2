//! The threads of a node, from begin to end. A cluster member has one I/O thread with a runtime of its own for all
//! connections and timers; an embedded node has a plain timer thread. None of them runs on the caller's runtime, and all of
//! them can be ended from any thread, a task of some runtime included.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use hypermnesia_store::disc::Disc;

use crate::control::Control;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::{IMAGE_NICENESS, TICK};
use crate::{peer, reading, remote};

thread_local! {
    /// This is the I/O thread of a node.
    static IO: Cell<bool> = const { Cell::new(false) };
    /// This is a thread of a node.
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller is a thread of a node, whose panics end it with their message.
pub(crate) fn on_own_thread() -> bool {
    OWN.get()
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
        disc: Option<Arc<dyn Disc>>,
    ) -> Result<Life> {
        let stop = Arc::new(Stop::default());
        let thread = match listener {
            None => timer_thread(Arc::clone(core), Arc::clone(&stop)).map_err(not_started)?,
            Some(listener) => {
                let (opened, hears) = mpsc::sync_channel(1);
                let begun = io_thread(Arc::clone(core), Arc::clone(&stop), listener, disc, opened);
                let thread = begun.map_err(not_started)?;
                // A thread that ends without a word has failed, and said why.
                if let Ok(Err(error)) = hears.recv() {
                    core.close();
                    drop(thread.join());
                    return Err(error);
                }
                thread
            }
        };
        let mut threads = vec![thread];
        if core.disc.is_some() {
            for thread in [sync_thread(Arc::clone(core)), checkpoint_thread(Arc::clone(core))] {
                threads.push(thread.map_err(not_started)?);
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
                // Its panics are caught.
                let _ = thread.join();
            }
        }
        if let Some(disc) = &core.disc {
            disc.close(core.failure().is_none() && core.store.disc_fault().is_none());
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end(&Arc::clone(&self.core));
    }
}

fn not_started(error: std::io::Error) -> Error {
    Error::Config(format!("starting the node's threads: {error}"))
}

/// Starts a thread of the node. A panic in it ends the node: what it left half done nobody may build on.
fn start(
    name: &str,
    core: Arc<Core>,
    work: impl FnOnce(&Arc<Core>) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(move || {
        OWN.set(true);
        guard(&core, || work(&core));
    })
}

/// Runs a part of the node, and ends the node when it panics.
fn guard(core: &Core, work: impl FnOnce()) {
    // Unwind safe: nobody uses what the part was at any more.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        core.fail(broken(&*panic));
    }
}

/// Runs a part of the node as a task of its I/O thread, and ends the node when it panics.
pub(crate) fn spawn(core: &Arc<Core>, work: impl Future<Output = ()> + Send + 'static) {
    let (core, task) = (Arc::clone(core), tokio::spawn(work));
    tokio::spawn(async move {
        if let Err(error) = task.await
            && let Ok(panic) = error.try_into_panic()
        {
            core.fail(broken(&*panic));
        }
    });
}

/// Lets another thread do it. A panic there is one here.
pub(crate) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The node ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A panic as an error, on one line.
fn broken(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic");
    Error::Broken(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn timer_thread(core: Arc<Core>, stop: Arc<Stop>) -> std::io::Result<JoinHandle<()>> {
    start("hypermnesia-timer", core, move |core| {
        let mut asked = stop.asked.lock();
        while !*asked {
            stop.plain.wait_for(&mut asked, TICK);
            parking_lot::MutexGuard::unlocked(&mut asked, || core.tick());
        }
    })
}

fn sync_thread(core: Arc<Core>) -> std::io::Result<JoinHandle<()>> {
    start("hypermnesia-disc", core, |core| {
        if let Some(disc) = &core.disc {
            disc.sync_until_closed(core);
        }
    })
}

fn checkpoint_thread(core: Arc<Core>) -> std::io::Result<JoinHandle<()>> {
    start("hypermnesia-image", core, |core| {
        // Behind whoever serves: about a tenth of a processor when all are busy. On Linux this is about the thread alone;
        // where it is refused the thread is one like the others.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), IMAGE_NICENESS);
        if let Some(disc) = &core.disc {
            disc.checkpoint_until_closed(core);
        }
    })
}

fn io_thread(
    core: Arc<Core>,
    stop: Arc<Stop>,
    listener: std::net::TcpListener,
    disc: Option<Arc<dyn Disc>>,
    opened: mpsc::SyncSender<Result<()>>,
) -> std::io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    start("hypermnesia-io", core, move |core| {
        IO.set(true);
        runtime.block_on(async {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return core.fail(Error::Config(format!("peer listener: {error}"))),
            };
            match Control::open(core, disc).await {
                Ok(control) => core.take_control(control),
                Err(error) => return drop(opened.send(Err(error))),
            }
            drop(opened.send(Ok(())));
            Control::begin(core);
            remote::begin(core);
            reading::begin(core);
            tokio::select! {
                () = peer::run(Arc::clone(core), Some(listener)) => {}
                () = stop.tasks.notified() => {}
            }
            if let Some(control) = core.control() {
                control.shutdown().await;
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;

    #[test]
    fn a_panic_in_a_thread_of_the_node_ends_the_node_with_its_message() {
        // Aim: no node goes on with a part of it missing, and who waits for its failure hears why. Method: a thread, a task
        // and an event on somebody else's thread that panic, each at a node of its own.
        let panics: [fn(&Arc<Core>); 3] = [
            |core| {
                let thread = start("hypermnesia-test", Arc::clone(core), |_| panic!("two\nlines"));
                thread.expect("it starts").join().expect("the panic was caught");
            },
            |core| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    spawn(core, async { panic!("two\nlines") });
                    core.failed().await;
                });
            },
            |core| {
                let event = || core.event(|_, _, _| panic!("two\nlines"));
                catch_unwind(AssertUnwindSafe(event)).expect_err("the caller's thread goes on panicking");
            },
        ];
        for (at, panic) in panics.iter().enumerate() {
            let node = Node::builder().build().expect("an embedded node needs nothing");
            panic(&node.core);
            let Some(Error::Broken(text)) = node.failure() else { panic!("the node goes on after {at}") };
            assert!(at == 2 || text == "two lines", "{text:?}");
            assert_eq!(node.snapshot().err(), node.failure(), "it serves no longer");
        }
    }
}
