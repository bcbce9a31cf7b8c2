//! What a member has to say about itself while it serves: events of level WARN and above, a line each on the standard error.
//! `RUST_LOG` chooses others.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is told unless `RUST_LOG` says otherwise. The consensus library warns of every member that does not answer; what matters of
/// it is told by the node.
const TOLD: &str = "warn,openraft=off";

/// Lets this process tell its events. The standard output stays what the command prints.
pub(crate) fn to_stderr() {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(wanted) => {
            EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(wanted)
        }
        Err(_) => EnvFilter::new(TOLD),
    };
    let told = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Somebody listens already: so be it.
    drop(told.try_init());
}
