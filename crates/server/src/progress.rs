//! How far long work is, for whoever waits: a bar at a terminal, elsewhere a line now and then, or nothing.

use crate::output::remark;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a bar moves.
const TICK: Duration = Duration::from_millis(200);
/// How often there is a line.
const LINE: Duration = Duration::from_secs(5);

/// How far it is, on standard error.
pub(crate) struct Progress(Shown);

enum Shown {
    Nothing,
    /// It goes away with this.
    Bar(ProgressBar),
    Lines(Lines),
}

/// What a log keeps.
struct Lines {
    what: &'static str,
    all: u64,
    said: Mutex<Option<Instant>>,
}

impl Progress {
    /// Nothing to see.
    pub(crate) fn none() -> Progress {
        Progress(Shown::Nothing)
    }

    /// For work whose amount `count` knows, at a terminal; it is asked only if there is somebody to see.
    pub(crate) async fn of<E>(
        what: &'static str,
        count: impl Future<Output = Result<u64, E>>,
    ) -> Result<Progress, E> {
        match std::io::stderr().is_terminal() {
            true => Ok(Progress(Shown::Bar(bar(what, count.await?)))),
            false => Ok(Progress::none()),
        }
    }

    /// For work that may take hours, also where nobody sees a bar.
    pub(crate) fn always(what: &'static str, all: u64) -> Progress {
        Progress(match std::io::stderr().is_terminal() {
            true => Shown::Bar(bar(what, all)),
            false => Shown::Lines(Lines {
                what,
                all,
                said: Mutex::default(),
            }),
        })
    }

    /// So much is done by now.
    pub(crate) fn reached(&self, done: u64) {
        match &self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_position(done),
            Shown::Lines(lines) => {
                if let Some(line) = lines.line(done) {
                    remark(&line);
                }
            }
        }
    }
}

impl Lines {
    /// What to say, unless it was said a moment ago.
    fn line(&self, done: u64) -> Option<String> {
        let mut said = self.said.lock();
        if said.is_some_and(|said| said.elapsed() < LINE) {
            return None;
        }
        *said = Some(Instant::now());
        Some(format!("{}: {done} of {}", self.what, self.all))
    }
}

fn bar(what: &'static str, all: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
    // The template is right; if it were not, the usual bar would do.
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(TICK);
    bar
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gets_a_line_now_and_then() {
        let lines = Lines {
            what: "moving",
            all: 300,
            said: Mutex::default(),
        };
        assert_eq!(lines.line(100).as_deref(), Some("moving: 100 of 300"));
        assert_eq!(lines.line(200), None);
        *lines.said.lock() = Instant::now().checked_sub(LINE);
        assert_eq!(lines.line(300).as_deref(), Some("moving: 300 of 300"));
    }
}
