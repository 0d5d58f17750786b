//! How far long work is, for whoever waits at a terminal. Where standard error is none, nothing is shown and nothing is asked for it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// How often it moves.
const TICK: Duration = Duration::from_millis(200);

/// A bar on standard error, which goes away with it.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Nothing to see.
    pub(crate) fn none() -> Progress {
        Progress(None)
    }

    /// For work whose amount `count` knows; it is asked only if there is somebody to see.
    pub(crate) async fn of<E>(
        what: &'static str,
        count: impl Future<Output = Result<u64, E>>,
    ) -> Result<Progress, E> {
        if !std::io::stderr().is_terminal() {
            return Ok(Progress::none());
        }
        let bar = ProgressBar::with_draw_target(Some(count.await?), ProgressDrawTarget::stderr());
        // The template is right; if it were not, the usual bar would do.
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Ok(Progress(Some(bar)))
    }

    /// So much is done by now.
    pub(crate) fn reached(&self, done: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
