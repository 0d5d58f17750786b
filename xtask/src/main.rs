//! The project's chores, run as `cargo xtask <chore>`.
//!
//! * `test` installs the peers that are missing, then runs everything: format,
//!   lints, unit tests, black-box tests. Ends with `N passed, N failed`.
//! * `bench` measures speed and memory beside Postfix in one run.
//! * `docs` writes what is generated: `docs/reference`, the chart's README, schema and files, `k8s/monitoring`; with
//!   `--check` it says whether they are stale.
//! * `peers` installs the peers and does nothing else.
//! * `image` builds the container image, or only the files in it.
//! * `version` says which places name another version than `Cargo.toml`, or sets it in all of them.
//! * `fuzz` runs every fuzz target for a time.

mod bench;
mod chart;
mod docs;
mod fuzz;
mod image;
mod monitoring;
mod peers;
mod run;
mod test;
mod version;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <chore>

  test [FILTER]...         install missing peers, then run everything; a filter
                           runs only the tests whose names contain it
  bench [NAME]... [--rounds N]
                           measure beside Postfix; NAME is one of
                           accept, relay, distant, postgres, postgres-alone,
                           postgres-memory, claims, together, history, traces,
                           webhooks, durable, auth, logins, flood, dkim,
                           handshakes, tls, idle, large, backlog
  docs [--check]           write what is generated: docs/reference, parts of the
                           chart, k8s/monitoring
  fuzz [--seconds N] [TARGET]...
                           run the fuzz targets, 600 s each unless told
  image [--profile NAME] [--tag NAME] [--archive FILE] [--builder NAME]
        [--source URL] [--files FOLDER]
                           build the container image, with buildah or podman;
                           of files that are there already, without compiling
  image --files-only FOLDER [--profile NAME]
                           compile and lay out its files, and build no image
  image --twice [--profile NAME]
                           compile its files twice, here and elsewhere, and
                           compare
  version [X.Y.Z]          say which places name another version than Cargo.toml,
                           or set it in all of them
  peers                    only install the peers that tests and benchmarks need
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match chore.as_str() {
        "test" => test::run(&rest),
        "bench" => bench::run(&rest),
        "docs" => docs::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "image" => image::run(&rest),
        "peers" => peers::install(),
        "version" => version::run(&rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{USAGE, bench};

    /// Options that a chore reads: `"--name" =>`, and `== "--name"`.
    fn options(source: &str) -> Vec<&str> {
        let found = source.match_indices("\"--").filter_map(|(at, _)| {
            let (name, after) = source[at + 1..].split_once('"')?;
            let read = after.starts_with(" =>") || source[..at].ends_with("== ") || after.starts_with("] =>");
            read.then_some(name)
        });
        found.collect()
    }

    #[test]
    fn the_usage_names_every_option_and_every_benchmark() {
        let words: Vec<&str> = USAGE.split([' ', ',', '[', ']', '\n']).collect();
        let chores = [
            include_str!("bench.rs"),
            include_str!("docs.rs"),
            include_str!("fuzz.rs"),
            include_str!("image.rs"),
        ];
        for chore in chores {
            let options = options(chore);
            assert!(!options.is_empty());
            for option in options {
                assert!(words.contains(&option), "{option}");
            }
        }
        for (name, _) in bench::BENCHMARKS {
            assert!(words.contains(&name), "{name}");
        }
    }
}
