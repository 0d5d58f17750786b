//! `cargo xtask bench`: speed and memory beside Debian's Postfix, in one run on one disk.
//!
//! Every figure is a median of rounds in which the servers take turns, and is
//! shown as a ratio to its peer's: the machine's speed falls out of it. A line says `ok` or
//! `BELOW` against what `docs/performance.md` promises; it is no test.

mod auth;
mod distant;
mod dkim;
mod load;
mod logins;
mod memory;
mod ours;
mod peers;
mod postgres;
mod session;
mod speed;
mod telling;
mod tls;
mod waiting;

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

/// Measures one thing, and reports it.
type Measure = fn(&mut Bench) -> Result<(), String>;

/// By name, in the order in which they are run.
pub(crate) const BENCHMARKS: [(&str, Measure); 21] = [
    ("accept", speed::accept),
    ("relay", speed::relay),
    ("distant", distant::distant),
    ("postgres", postgres::speed),
    ("postgres-alone", postgres::alone),
    ("postgres-memory", postgres::memory),
    ("claims", waiting::claims),
    ("together", waiting::together),
    ("history", telling::history),
    ("traces", telling::traces),
    ("webhooks", telling::webhooks),
    ("durable", speed::durable),
    ("auth", auth::auth),
    ("logins", logins::logins),
    ("flood", logins::flood),
    ("dkim", dkim::dkim),
    ("handshakes", tls::handshakes),
    ("tls", tls::reception),
    ("idle", |bench| {
        memory::idle(bench)?;
        tls::idle(bench)
    }),
    ("large", memory::large),
    ("backlog", memory::backlog),
];

/// Runs the named benchmarks, or all.
pub(crate) fn run(args: &[String]) -> Result<bool, String> {
    let mut names = Vec::new();
    let mut rounds = 3;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--rounds" {
            rounds = args
                .next()
                .and_then(|n| n.parse().ok())
                .ok_or("--rounds takes a number")?;
        } else if BENCHMARKS.iter().any(|(name, _)| name == arg) {
            names.push(arg.as_str());
        } else {
            return Err(format!("there is no benchmark {arg:?}"));
        }
    }
    crate::peers::install()?;
    let server = build_server(&[])?;
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
    for (name, measure) in BENCHMARKS {
        if names.is_empty() || names.contains(&name) {
            measure(&mut bench)?;
        }
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
