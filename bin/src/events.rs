//! What a member has to say about itself while it serves: events of level WARN and above, a line each on the standard error.
//! `RUST_LOG` chooses others.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Lets this process tell its events. The standard output stays what the command prints.
pub(crate) fn to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    let told = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Somebody listens already: so be it.
    drop(told.try_init());
}
