//! `cargo xtask bench`: speed and memory beside Debian's Postfix, in one run on one disk.
//!
//! Every figure is a median of rounds in which the servers take turns, and is
//! shown as a ratio to its peer's: the machine's speed falls out of it. A line says `ok` or
//! `BELOW` against what `docs/performance.md` promises; it is no test.

mod auth;
mod dkim;
mod load;
mod logins;
mod memory;
mod peers;
mod postgres;
mod session;
mod speed;
mod telling;
mod tls;

use crate::run::build_server;
use std::path::PathBuf;

/// What a benchmark needs to know.
pub(crate) struct Bench {
    pub(crate) server: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) rounds: usize,
    pub(crate) report: Vec<String>,
}

impl Bench {
    /// Prints a line and keeps it for the summary.
    pub(crate) fn say(&mut self, line: String) {
        println!("{line}");
        self.report.push(line);
    }
    /// Reports a figure against what is promised.
    pub(crate) fn judge(&mut self, what: &str, figure: f64, unit: &str, bound: Bound) {
        let (good, bound) = match bound {
            Bound::AtLeast(least) => (figure >= least, format!("at least {least}")),
            Bound::AtMost(most) => (figure <= most, format!("at most {most}")),
        };
        let word = if good { "ok   " } else { "BELOW" };
        self.say(format!("{word} {what}: {figure:.2} {unit} ({bound})"));
    }
}

pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Runs the named benchmarks, or all.
pub(crate) fn run(args: &[String]) -> Result<bool, String> {
    crate::peers::install()?;
    let mut names = Vec::new();
    let mut rounds = 3;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--rounds" {
            rounds = args
                .next()
                .and_then(|n| n.parse().ok())
                .ok_or("--rounds takes a number")?;
        } else {
            names.push(arg.as_str());
        }
    }
    let server = build_server()?;
    // Beside the build, so that every server writes to the same real disk: /tmp may be memory.
    let folder = crate::run::target().join("bench");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    load::raise_file_limit();
    let mut bench = Bench {
        server,
        folder,
        rounds,
        report: Vec::new(),
    };
    machine(&mut bench);
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    if wanted("accept") {
        speed::accept(&mut bench)?;
    }
    if wanted("relay") {
        speed::relay(&mut bench)?;
    }
    if wanted("postgres") {
        postgres::speed(&mut bench)?;
    }
    if wanted("postgres-alone") {
        postgres::alone(&mut bench)?;
    }
    if wanted("postgres-memory") {
        postgres::memory(&mut bench)?;
    }
    if wanted("claims") {
        postgres::claims(&mut bench)?;
    }
    if wanted("together") {
        postgres::together(&mut bench)?;
    }
    if wanted("history") {
        telling::history(&mut bench)?;
    }
    if wanted("traces") {
        telling::traces(&mut bench)?;
    }
    if wanted("webhooks") {
        telling::webhooks(&mut bench)?;
    }
    if wanted("durable") {
        speed::durable(&mut bench)?;
    }
    if wanted("auth") {
        auth::auth(&mut bench)?;
    }
    if wanted("logins") {
        logins::logins(&mut bench)?;
    }
    if wanted("flood") {
        logins::flood(&mut bench)?;
    }
    if wanted("dkim") {
        dkim::dkim(&mut bench)?;
    }
    if wanted("handshakes") {
        tls::handshakes(&mut bench)?;
    }
    if wanted("tls") {
        tls::reception(&mut bench)?;
    }
    if wanted("idle") {
        memory::idle(&mut bench)?;
        tls::idle(&mut bench)?;
    }
    if wanted("large") {
        memory::large(&mut bench)?;
    }
    if wanted("backlog") {
        memory::backlog(&mut bench)?;
    }
    println!("\nSummary\n{}", bench.report.join("\n"));
    let _ = std::fs::remove_dir_all(&bench.folder);
    Ok(true)
}

fn machine(bench: &mut Bench) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    bench.say(format!(
        "machine: {cores} cores, Linux {}, {} rounds",
        kernel.trim(),
        bench.rounds
    ));
}

/// The median of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}
