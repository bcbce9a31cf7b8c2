//! Progress for people: a bar on the standard error for what takes longer than a moment, nothing when nobody watches.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// What is done sooner shows no bar.
const SHOWN_AFTER: Duration = Duration::from_millis(700);

/// A bar that appears when it is worth it and goes away with its owner.
pub(crate) struct Progress {
    bar: ProgressBar,
    style: &'static str,
    since: Instant,
    watched: bool,
    shown: std::cell::Cell<bool>,
}

/// Progress through so many bytes.
pub(crate) fn bytes(what: &'static str, total: u64) -> Progress {
    Progress::new(what, total, "{msg} {bar:30} {bytes}/{total_bytes} {eta}")
}

/// Progress through bytes of which nobody knows how many there are.
pub(crate) fn unbounded(what: &'static str) -> Progress {
    Progress::new(what, 0, "{msg} {bytes}")
}

/// Progress through so many rows.
pub(crate) fn rows(what: &'static str, total: u64) -> Progress {
    Progress::new(what, total, "{msg} {bar:30} {human_pos}/{human_len} rows {eta}")
}

/// Progress through so many steps of about the same length.
pub(crate) fn steps(what: impl Into<Cow<'static, str>>, total: u64) -> Progress {
    Progress::new(what, total, "{msg} {bar:30} {pos}/{len} {eta}")
}

impl Progress {
    fn new(what: impl Into<Cow<'static, str>>, total: u64, style: &'static str) -> Progress {
        let bar = ProgressBar::hidden();
        bar.set_length(total);
        bar.set_message(what);
        Progress { bar, style, since: Instant::now(), watched: output::is_watched(), shown: false.into() }
    }

    /// Says how far it is.
    pub(crate) fn at(&self, position: u64) {
        if self.watched && !self.shown.get() && self.since.elapsed() > SHOWN_AFTER {
            self.shown.set(true);
            self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(self.style) {
                self.bar.set_style(style);
            }
        }
        self.bar.set_position(position);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
